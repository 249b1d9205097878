#!/bin/sh
# Gets the alert as JSON on standard input. Drive a relay here; this one only writes a line.
echo "$HEADWATER_EVENT $HEADWATER_DEVICE_ID" >> siren.log
