"""What changed in the database's tables, version by version; run by `service.migrating`."""
