"""What people do with their own account: password, address, sessions, events, export, deletion."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router, Status

from lib.api import refusals
from lib.asgi import on_lane
from lib.text import read_id
from users.api import schemas
from users.api.accounts import router as profile
from users.api.auth import act, as_if_mailed, compared, person
from users.responses import download, never_store
from users.services import audit, deletion, email_change, hashing, passwords, personal_data, sessions, sign_in

router = Router(tags=["Your own account"])


@router.post(
    "/auth/change-password", response={200: schemas.PasswordChangedOut, **refusals(400, 401, 403, 413, 422, 429, 503)}
)
async def change_password(request: HttpRequest, payload: schemas.ChangePasswordIn) -> schemas.PasswordChangedOut:
    """Set a new password with the current one; the other sessions end. Wrong tries are counted like sign-ins."""
    user = person(request)
    attempt = await act(request, passwords.begin_change, user, new_password=payload.new_password)
    checked = await compared(attempt, payload.current_password)
    await on_lane(sign_in.check_own, user, attempt, checked, why="wrong_at_change")
    new = {"password_hash": await hashing.amake(payload.new_password), "attempt": attempt, "keep": user.session_id}
    await act(request, passwords.finish_change, user, **new)
    return schemas.PasswordChangedOut()


@router.post(
    "/auth/change-email", response={200: schemas.EmailChangeOut, **refusals(400, 401, 403, 413, 422, 429, 503)}
)
async def change_email(request: HttpRequest, payload: schemas.EmailIn) -> schemas.EmailChangeOut:
    """Mail a link to the new address; an address that is taken is answered alike."""
    async with as_if_mailed():
        await act(request, email_change.request, person(request), email=payload.email)
    return schemas.EmailChangeOut()


@router.post(
    "/auth/change-email/confirm",
    auth=None,
    response={200: schemas.EmailChangedOut, **refusals(400, 413, 422, 503)},
    operation_id="confirm_email_change",
)
async def confirm_email(request: HttpRequest, payload: schemas.TokenIn) -> schemas.EmailChangedOut:
    """Make the new address the account's, with the token mailed there; sessions end but the one that asked."""
    await act(request, email_change.confirm, token=payload.token)
    return schemas.EmailChangedOut()


@router.post(
    "/auth/change-email/undo",
    auth=None,
    response={200: schemas.EmailUndoneOut, **refusals(400, 413, 422, 503)},
    operation_id="undo_email_change",
)
async def undo_email(request: HttpRequest, payload: schemas.TokenIn) -> schemas.EmailUndoneOut:
    """Give the account its old address back, with the token mailed there; every session ends."""
    await act(request, email_change.undo, token=payload.token)
    return schemas.EmailUndoneOut()


@router.get(
    "/users/sessions", response={200: list[schemas.SessionOut], **refusals(401, 503)}, operation_id="list_own_sessions"
)
async def list_sessions(request: HttpRequest, response: HttpResponse) -> list[schemas.SessionOut]:
    """The live sessions, the newest first; `is_current` is the one this call comes from."""
    never_store(response)
    user = person(request)
    return [schemas.SessionOut.of(row, user.session_id) for row in await sessions.own(user)]


@router.delete(
    "/users/sessions", response={204: None, **refusals(401, 403, 503)}, operation_id="end_own_other_sessions"
)
async def end_other_sessions(request: HttpRequest) -> Status[None]:
    """Sign out everywhere but here."""
    await act(request, sessions.end_others, person(request))
    return Status(204, None)


@router.delete(
    "/users/sessions/{session_id}", response={204: None, **refusals(401, 403, 404, 503)}, operation_id="end_own_session"
)
async def end_session(request: HttpRequest, session_id: str) -> Status[None]:
    """Sign out one session; 404 for one that has ended and for anybody else's."""
    await act(request, sessions.end_own, person(request), read_id(session_id))
    return Status(204, None)


@router.get(
    "/users/security-events",
    response={200: list[schemas.SecurityEventOut], **refusals(400, 401, 422, 503)},
    operation_id="list_own_security_events",
)
async def security_events(
    request: HttpRequest, response: HttpResponse, query: Query[schemas.EventsQuery]
) -> list[schemas.SecurityEventOut]:
    """What happened to the account, the newest 50; `before` takes the `id` of the last one shown."""
    never_store(response)
    found = await on_lane(audit.own_events, person(request), before=query.before)
    return [schemas.SecurityEventOut(**event) for event in found]


@router.get("/users/user/export", response={200: None, **refusals(401, 403, 503)}, operation_id="export_own_account")
async def export_account(request: HttpRequest) -> HttpResponseBase:
    """Everything held about the person, as one JSON file."""
    pieces = await act(request, personal_data.export_own, person(request))
    return download(pieces)


# On the router that has the path: another router's methods of the same path would be 405.
@profile.delete(
    "/users/user",
    response={202: schemas.DeletionOut, **refusals(400, 401, 403, 503)},
    operation_id="delete_own_account",
)
async def delete_account(request: HttpRequest) -> Status[schemas.DeletionOut]:
    """Shut the account at once; it goes for good after 30 days, unless the mailed link takes that back."""
    at = await act(request, deletion.request, person(request))
    return Status(202, schemas.DeletionOut(delete_after_at=at))


@router.post(
    "/auth/undelete",
    auth=None,
    response={200: schemas.UndeletedOut, **refusals(400, 413, 422, 503)},
    operation_id="undelete_own_account",
)
async def undelete(request: HttpRequest, payload: schemas.TokenIn) -> schemas.UndeletedOut:
    """Take a deletion back with the mailed token; then sign in as before."""
    await act(request, deletion.undelete, token=payload.token)
    return schemas.UndeletedOut()
