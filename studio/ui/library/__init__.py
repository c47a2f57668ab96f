"""The *Library* tab."""
