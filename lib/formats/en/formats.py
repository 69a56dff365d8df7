"""How the admin spells a moment: with its zone, as everywhere where staff read one."""

DATETIME_FORMAT = "j M Y, H:i e"
SHORT_DATETIME_FORMAT = "j M Y, H:i e"
