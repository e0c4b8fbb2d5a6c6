"""The stream bench: alarms, estimates and causes on streams of real photographs through real models."""
