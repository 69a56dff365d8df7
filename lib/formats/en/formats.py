"""How pages spell a moment in English: with its zone, as everywhere where staff read one."""

DATETIME_FORMAT = "j M Y, H:i e"
SHORT_DATETIME_FORMAT = "j M Y, H:i e"

# Names of our own, for `date_format` and the filter `date`.
DAY, DAY_OF_YEAR, WHOLE_DAY = "j M", "j M Y", "j F Y"
MOMENT, MOMENT_TO_THE_SECOND = "j M Y H:i e", "j M Y H:i:s e"
DAY_AND_TIME = "j M Y, H:i"
DAY_AND_HOUR = "j M H:i e"
