"""Classification over HTTP beside other serving engines: `make bench-serving`."""
