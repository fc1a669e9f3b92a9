#!/usr/bin/env bash
# Calls the OpenAPI with curl and a signature (version 1.0) made by hand with openssl.
# Usage: call.sh METHOD URL ACTION [NAME=VALUE]...
# Takes ACCESS_KEY_ID and ACCESS_KEY_SECRET from the environment, FORMAT too where an answer in JSON is wanted.
# Prints the body of the answer, then a line with its status and type.
set -euo pipefail

method=$1 url=$2 action=$3
shift 3

encode() {
    local LC_ALL=C text=$1 out='' char number i
    for ((i = 0; i < ${#text}; i++)); do
        char=${text:i:1}
        case $char in
            [a-zA-Z0-9._~-]) out+=$char ;;
            *)
                printf -v number %d "'$char"
                printf -v char '%%%02X' $((number & 255))
                out+=$char
                ;;
        esac
    done
    printf %s "$out"
}

parameters=(
    "Action=$action"
    "Version=2018-01-20"
    "AccessKeyId=$ACCESS_KEY_ID"
    "SignatureMethod=HMAC-SHA1"
    "SignatureVersion=1.0"
    "SignatureNonce=$(openssl rand -hex 16)"
    "Timestamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    "$@"
)
if [ -n "${FORMAT-}" ]; then parameters+=("Format=$FORMAT"); fi

query=$(
    for parameter in "${parameters[@]}"; do
        printf '%s=%s\n' "$(encode "${parameter%%=*}")" "$(encode "${parameter#*=}")"
    done | LC_ALL=C sort -t= -k1,1 | paste -sd '&'
)
signature=$(printf %s "$method&%2F&$(encode "$query")" | openssl dgst -sha1 -hmac "$ACCESS_KEY_SECRET&" -binary | base64)
query+="&Signature=$(encode "$signature")"

show=(--silent --show-error --write-out '\n%{http_code} %{content_type}\n')
case $method in
    GET) curl "${show[@]}" "$url/?$query" ;;
    POST) curl "${show[@]}" --data-raw "$query" "$url/" ;;
esac
