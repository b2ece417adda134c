"""When Kubernetes versions end, by the project's own calendar; a vendor's paid extension is not counted."""

from datetime import date

OLDEST = (1, 30)
NEWEST = (1, 37)
SOON_DAYS = 60
# Source: the Kubernetes project's patch release calendar; dates to come are the announced ones.
END_OF_LIFE = {
    (1, 28): date(2024, 10, 28),
    (1, 29): date(2025, 2, 28),
    (1, 30): date(2025, 6, 28),
    (1, 31): date(2025, 10, 28),
    (1, 32): date(2026, 2, 28),
    (1, 33): date(2026, 6, 28),
    (1, 34): date(2026, 10, 27),
    (1, 35): date(2027, 2, 28),
    (1, 36): date(2027, 6, 28),
    (1, 37): date(2027, 10, 28),
}
