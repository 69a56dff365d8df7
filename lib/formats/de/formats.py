"""How pages spell a moment in German."""

DATETIME_FORMAT = "j. N Y, H:i e"
SHORT_DATETIME_FORMAT = "j. N Y, H:i e"

DAY, DAY_OF_YEAR, WHOLE_DAY = "j. N", "j. N Y", "j. F Y"
MOMENT, MOMENT_TO_THE_SECOND = "j. N Y H:i e", "j. N Y H:i:s e"
DAY_AND_TIME = "j. N Y, H:i"
DAY_AND_HOUR = "j. N H:i e"
