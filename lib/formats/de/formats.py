"""How pages spell a moment in German."""

DATETIME_FORMAT = "j. M Y, H:i e"
SHORT_DATETIME_FORMAT = "j. M Y, H:i e"

DAY, DAY_OF_YEAR, WHOLE_DAY = "j. M", "j. M Y", "j. F Y"
MOMENT, MOMENT_TO_THE_SECOND, WHOLE_MOMENT = "j. M Y H:i e", "j. M Y H:i:s e", "j. F Y, H:i:s e"
