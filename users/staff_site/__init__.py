"""The doors of the staff's site: signing in by two steps, second factors, proving once more who one is."""
