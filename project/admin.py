from django.contrib.admin import AdminSite


class SwitchboardAdminSite(AdminSite):
    site_header = site_title = "Switchboard"
