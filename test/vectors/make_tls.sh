#!/usr/bin/env bash
# Makes the certificates of the tests of TLS to a database: two authorities, and of the first a server's for this machine and one for
# another host. They are good for a hundred years, and for nothing else.
#   bash test/vectors/make_tls.sh
set -eu
cd "$(dirname "$0")/tls"
DAYS=36500
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days $DAYS -keyout "$1.key" -out "$1.crt" -subj "/CN=$1 of the tests"
}
server() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"
  openssl x509 -req -in "$1.csr" -CA authority.crt -CAkey authority.key -CAcreateserial -days $DAYS -out "$1.crt" -extfile <(echo "subjectAltName=$3")
}
authority authority
authority stranger
server here localhost DNS:localhost,IP:127.0.0.1
server elsewhere db.example DNS:db.example
rm -f -- *.csr *.srl authority.key stranger.key
