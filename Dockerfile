# Two stages: the first has what builds, the second only what runs.
#   docker build --tag switchboard --build-arg EXTRAS=celery,ses .
ARG PYTHON=python:3.13-slim
FROM ${PYTHON} AS build
# Names of lock files under requirements/, separated by commas.
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.txt ./
COPY requirements/*.txt requirements/
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --require-hashes --requirement requirements.txt \
        $(for extra in $(echo "$EXTRAS" | tr , ' '); do echo "--requirement requirements/$extra.txt"; done)
COPY . .
# Collecting needs settings that start; none of these values is left in the image's environment. What is collected is not
# needed twice, nor what only a compiler or a debugger reads, nor Django's words in languages that no page is written in.
RUN DEBUG=0 SECRET_KEY=build-time-only-0123456789-abcdefghij USERS_TOKEN_SECRET=build-time-only-0123456789-abcdefghij \
    APP_URL=http://localhost BASE_URL=http://localhost DATABASE_URL=sqlite:////tmp/build.sqlite3 \
    /venv/bin/python manage.py collectstatic --noinput \
    && /venv/bin/python -m compileall -q . \
    && find /venv/lib -path '*/static/*' -type f -delete \
    && find /venv/lib staticfiles -type f \( -name '*.map*' -o -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -delete \
    && find /venv/lib -path '*/django/*/locale/*' -type d -path '*/locale/[a-z]*' ! -path '*/locale/en*' \
        $(for language in locale/*; do echo "! -path */$language*"; done) -prune -exec rm -r {} +

FROM ${PYTHON}
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
# glibc would keep the 19 MiB that a password's hash takes, once for each core that hashes. Given back at once, and taken
# as huge pages; each hash of 20 ms then takes about 2 ms more.
ENV GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576:glibc.malloc.hugetlb=1
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin switchboard
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=2)"]
CMD ["python", "manage.py", "serve"]
