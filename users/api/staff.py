"""What staff do with accounts beside the verbs of the admin: create one, change names and rights; and their shapes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.contrib.auth.models import Group, Permission
from django.http import Http404, HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field

from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import Email, Name, Text
from lib.staff_api import REFUSED, actor, needs
from lib.text import is_storable, read_id
from users.api import schemas
from users.api.keys import KeyOut
from users.models import ApiKey, AuditEvent, MfaDevice, ServiceAccount, User, UserSession
from users.services import api_keys, key_scopes, staff

router = Router(tags=["Staff: people"])
Word = Annotated[Text, Field(max_length=100)]


class PersonOut(Schema):
    """`groups` by name; `factors` is how many second factors are in use."""

    id: str
    email: str
    first_name: str
    last_name: str
    is_active: bool
    is_staff: bool
    is_superuser: bool
    is_service_account: bool
    must_reset: bool
    email_verified_at: datetime | None
    deactivated_at: datetime | None
    deactivated_reason: str
    delete_after_at: datetime | None
    last_login: datetime | None
    created_at: datetime
    updated_at: datetime
    groups: list[str]
    factors: int

    @classmethod
    def of(cls, row: Any) -> PersonOut:
        fields = {name: getattr(row, name) for name in cls.model_fields.keys() - {"id", "groups", "factors"}}
        groups = sorted(group.name for group in row.groups.all())
        return cls(id=row.pk.hex, groups=groups, factors=row.factor_count, **fields)


class StaffSessionOut(Schema):
    """`user` is the id of a person."""

    id: str
    user: str
    email: str
    kind: str
    label: str
    ip: str
    user_agent: str
    amr: list[str]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: str

    @classmethod
    def of(cls, row: UserSession) -> StaffSessionOut:
        fields = {name: getattr(row, name) for name in cls.model_fields.keys() - {"id", "user", "email"}}
        return cls(id=row.pk.hex, user=row.user_id.hex, email=row.user.email, **fields)


class StaffKeyOut(KeyOut):
    """With whose it is."""

    user: str
    email: str
    created_by: str
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey) -> StaffKeyOut:
        more: dict[str, Any] = {"created_by": row.created_by, "revoked_at": row.revoked_at}
        return cls(**KeyOut.of(row).model_dump(), user=row.user_id.hex, email=row.user.email, **more)


class ServiceAccountOut(Schema):
    """`user` is the id of its account."""

    name: str
    description: str
    user: str
    is_active: bool
    groups: list[str]
    created_at: datetime

    @classmethod
    def of(cls, row: ServiceAccount) -> ServiceAccountOut:
        groups = sorted(group.name for group in row.user.groups.all())
        fields = {name: getattr(row, name) for name in ("name", "description", "created_at")}
        return cls(user=row.pk.hex, is_active=row.user.is_active, groups=groups, **fields)


class AuditEventOut(Schema):
    """`user` is whose account it is about; `actor` an id, or a word such as `command:activate_user`."""

    id: int
    at: datetime
    event: str
    outcome: str
    user: str | None
    actor: str
    door: str
    session: str | None
    ip: str
    user_agent: str
    request_id: str
    data: dict[str, Any]

    @classmethod
    def of(cls, row: AuditEvent) -> AuditEventOut:
        fields = {name: getattr(row, name) for name in cls.model_fields.keys() - {"user", "session"}}
        of_others: dict[str, Any] = {
            "user": row.user_id and row.user_id.hex,
            "session": row.session_id and row.session_id.hex,
        }
        return cls(**of_others, **fields)


class GroupOut(Schema):
    name: str
    permissions: list[str]

    @classmethod
    def of(cls, row: Group) -> GroupOut:
        return cls(name=row.name, permissions=sorted(_named(each) for each in row.permissions.all()))


def _named(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


class GroupIn(BaseModel):
    """`permissions` as `users.view_user`: all there shall be."""

    name: Annotated[Text, Field(min_length=1, max_length=150, examples=["Support"])]
    permissions: Annotated[list[Word], Field(max_length=500)] = []


class GroupChangeIn(BaseModel):
    """What is given; the rest stays."""

    name: Annotated[Text, Field(min_length=1, max_length=150, examples=["Support"])] = ""
    permissions: Annotated[list[Word], Field(max_length=500)] = []


class PersonIn(BaseModel):
    email: Email
    first_name: Name = ""
    last_name: Name = ""


class NamesIn(BaseModel):
    """One field, both or none; the others stay."""

    first_name: Name = ""
    last_name: Name = ""


class RightsIn(BaseModel):
    """All there shall be of what is given; the others stay. `groups` by name, `permissions` as `users.view_user`."""

    is_staff: bool = False
    is_superuser: bool = False
    groups: Annotated[list[Annotated[Text, Field(max_length=150)]], Field(max_length=100)] = []
    permissions: Annotated[list[Word], Field(max_length=500)] = []


class ServiceAccountIn(BaseModel):
    """`groups` by name."""

    name: Word
    description: Annotated[Text, Field(max_length=200)] = ""
    groups: Annotated[list[Annotated[Text, Field(max_length=150)]], Field(max_length=100)] = []


def _find(key: str) -> User:
    user = User.objects.filter(pk__in=[read_id(key)]).first()
    if user is None:
        raise Http404
    return user


def _person(user: User) -> PersonOut:
    row = User.objects.prefetch_related("groups").get(pk=user.pk)
    row.factor_count = row.mfa_devices.filter(confirmed_at__isnull=False).count()  # type: ignore[attr-defined]
    return PersonOut.of(row)


def _groups(names: list[str]) -> list[Group]:
    found = list(Group.objects.filter(name__in=names))
    if missing := set(names) - {group.name for group in found}:
        raise ProductError("GROUP_UNKNOWN", f"There is no group {min(missing)}.", status=422, reason=min(missing))
    return found


def _group(name: str) -> Group:
    group = Group.objects.filter(name=name).first() if is_storable(name) else None
    if group is None:
        raise Http404
    return group


def _permissions(names: list[str]) -> list[Permission]:
    wanted = set(names)
    codenames = {name.rpartition(".")[2] for name in names}
    found = [
        each
        for each in Permission.objects.filter(codename__in=codenames).select_related("content_type")
        if _named(each) in wanted
    ]
    if missing := wanted - set(map(_named, found)):
        raise ProductError(
            "PERMISSION_UNKNOWN", f"There is no permission {min(missing)}.", status=422, reason=min(missing)
        )
    return found


@router.post("/people", response={201: PersonOut, **REFUSED}, operation_id="create_person")
@needs("users.add_user")
def create_person(request: HttpRequest, payload: PersonIn) -> Status[PersonOut]:
    """Create an account: active, unverified, without a password. Nothing is mailed yet."""
    return Status(201, _person(staff.create(**payload.model_dump(), actor=actor(request))))


@router.patch("/people/{key}", response={200: PersonOut, **REFUSED}, operation_id="rename_person")
@needs("users.change_user")
def rename_person(request: HttpRequest, key: str, payload: NamesIn) -> PersonOut:
    """Change the names given."""
    user = _find(key)
    names = payload.model_dump(exclude_unset=True)
    return _person(staff.edit(user, **names, actor=actor(request)) if names else user)


@router.patch("/people/{key}/rights", response={200: PersonOut, **REFUSED}, operation_id="change_rights")
@needs(key_scopes.GIVE_RIGHTS)
def change_rights(request: HttpRequest, key: str, payload: RightsIn) -> PersonOut:
    """Give and take rights; superusers alone do, with a fresh proof or the scope `people:rights`."""
    user = _find(key)
    given = payload.model_dump(exclude_unset=True)
    if "groups" in given:
        given["groups"] = _groups(given["groups"])
    if "permissions" in given:
        given["user_permissions"] = _permissions(given.pop("permissions"))
    return _person(staff.edit(user, **given, actor=actor(request)) if given else user)


@router.get(
    "/people/{key}/sessions", response={200: list[StaffSessionOut], **REFUSED}, operation_id="list_person_sessions"
)
@needs("users.view_usersession")
def list_sessions(request: HttpRequest, key: str) -> list[StaffSessionOut]:
    """The hundred newest sessions of a person, ended ones too."""
    rows = UserSession.objects.filter(user=_find(key)).select_related("user").order_by("-created_at")
    return [StaffSessionOut.of(row) for row in rows[:100]]


@router.get(
    "/people/{key}/factors", response={200: list[schemas.DeviceOut], **REFUSED}, operation_id="list_person_factors"
)
@needs("users.view_mfadevice")
def list_factors(request: HttpRequest, key: str) -> list[schemas.DeviceOut]:
    """The authenticator apps and passkeys in use; nothing of their secrets."""
    rows = MfaDevice.objects.filter(user=_find(key), confirmed_at__isnull=False).order_by("created_at")
    return [schemas.DeviceOut.of(row) for row in rows]


@router.post("/groups", response={201: GroupOut, **REFUSED}, operation_id="create_group")
@needs("auth.add_group", sensitive=True)
def create_group(request: HttpRequest, payload: GroupIn) -> Status[GroupOut]:
    """Make a group; superusers alone do."""
    permissions = _permissions(payload.permissions)
    group = staff.save_group(Group(), name=payload.name, permissions=permissions, actor=actor(request))
    return Status(201, GroupOut.of(group))


@router.patch("/groups/{key}", response={200: GroupOut, **REFUSED}, operation_id="change_group")
@needs("auth.change_group", sensitive=True)
def change_group(request: HttpRequest, key: str, payload: GroupChangeIn) -> GroupOut:
    """Change its name, or what its members may do; superusers alone do."""
    given: dict[str, Any] = payload.model_dump(exclude_unset=True)
    if "permissions" in given:
        given["permissions"] = _permissions(given["permissions"])
    return GroupOut.of(staff.save_group(_group(key), **given, actor=actor(request)))


@router.post("/groups/{key}/delete", response={204: None, **REFUSED}, operation_id="delete_group")
@needs("auth.delete_group", sensitive=True)
def delete_group(request: HttpRequest, key: str) -> Status[None]:
    """Delete a group; its members stay, without what it gave them. Superusers alone do."""
    staff.delete_group(_group(key), actor=actor(request))
    return Status(204, None)


@router.post("/service-accounts", response={201: ServiceAccountOut, **REFUSED}, operation_id="create_service_account")
@needs(key_scopes.GIVE_RIGHTS)
def create_service_account(request: HttpRequest, payload: ServiceAccountIn) -> Status[ServiceAccountOut]:
    """Create an account for a program, with the rights of its groups. Its keys are made in the admin."""
    given = {**payload.model_dump(), "groups": _groups(payload.groups)}
    return Status(201, ServiceAccountOut.of(api_keys.create_service_account(**given, actor=actor(request))))
