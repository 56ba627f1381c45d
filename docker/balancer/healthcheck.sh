#!/bin/bash
# Exit code 0 if a replica answers through the balancer.
exec 3<>/dev/tcp/127.0.0.1/8000 || exit 1
printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
