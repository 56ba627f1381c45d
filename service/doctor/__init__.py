"""What this machine gives the service, and what is wrong with it; looks, and changes nothing."""
