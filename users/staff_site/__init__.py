"""The site of the admin: signing in by two steps, second factors, and a fresh proof before sensitive changes."""
