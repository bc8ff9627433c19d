"""Nothing is believed that was not compared."""
