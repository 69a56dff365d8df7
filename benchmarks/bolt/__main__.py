"""Installs the peer: `python -m benchmarks.bolt`; BOLT_PYTHON names its Python, `python3.12` when not set."""

import os
import subprocess

from benchmarks.bolt import HOME, PYTHON, VERSION

PACKAGES = [f"django-bolt=={VERSION}", "django==5.2.*", "psycopg[binary]", "argon2-cffi"]

if __name__ == "__main__":
    subprocess.run([os.environ.get("BOLT_PYTHON", "python3.12"), "-m", "venv", HOME], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
