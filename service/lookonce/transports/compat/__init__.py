"""Other services' routes over our detector, so that their clients work unchanged."""
