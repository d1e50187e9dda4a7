"""Data: tables, pictures, and the drawn Atelier set."""
