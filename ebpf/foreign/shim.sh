#!/usr/bin/env bash
# Stands in for nft, iptables and conntrack while ebpf/foreign.sh runs a suite of somebody else's: it is
# first in the PATH under these names. Rules that put NAT into the suite's middle start the gateway there
# in their place, rules that only count or filter go to the real program, and what has no counterpart here is
# refused. What it decided is in the file decisions of the scratch folder.
#
# Set by ebpf/foreign.sh: FOREIGN_SUITE, FOREIGN_SCRATCH, FOREIGN_GATEWAY, FOREIGN_STATES, FOREIGN_PATH.
set -uo pipefail
name=$(basename "$0")
PATH=$FOREIGN_PATH

decide() { echo "$name: $*" >>"$FOREIGN_SCRATCH/decisions"; }

refuse() {
    decide "refused: $*"
    echo "$name: no counterpart in twinpath: $*" >&2
    exit 1
}

# Where one gateway's files are; a suite has one at a time.
place=$FOREIGN_SCRATCH/gateway

running() { [ -e "$place/pid" ] && kill -0 "$(cat "$place/pid")" 2>/dev/null; }

# start ARGS...: the gateway in the namespace that this was called in, once it is ready.
start() {
    running && return 0
    rm -rf "$place"
    mkdir -p "$place"
    mkfifo "$place/in"
    cp "$FOREIGN_STATES/$FOREIGN_SUITE.yaml" "$place/state.yaml"
    "$FOREIGN_GATEWAY" -f "$place/state.yaml" --control "$place/control" "$@" \
        <>"$place/in" >"$place/out" 2>"$place/errors" &
    echo $! | tee "$place/pid" >>"$FOREIGN_SCRATCH/pids"
    for _ in $(seq 600); do
        grep -q '^ready' "$place/out" && break
        running || break
        sleep 0.05
    done
    if ! grep -q '^ready' "$place/out"; then
        cat "$place/errors" >&2
        refuse "the gateway did not start: $(tail -n 1 "$place/errors")"
    fi
    decide "gateway $*"
}

stop() {
    running || return 0
    command_to drops >>"$FOREIGN_SCRATCH/drops"
    kill -TERM "$(cat "$place/pid")"
    while running; do sleep 0.02; done
    rm -f "$place/pid"
    decide "gateway ended"
}

# command_to COMMAND: what the gateway answers.
command_to() { echo "$1" | socat -t 5 - "UNIX-CONNECT:$place/control"; }

# The file that follows -f among the arguments, or nothing.
rule_file() {
    while [ $# -gt 0 ]; do
        if [ "$1" = -f ]; then
            echo "$2"
            return
        fi
        shift
    done
}

nft_nat() {
    local rules=
    [ -z "$(rule_file "$@")" ] || rules=$(cat "$(rule_file "$@" | sed 's,^-$,/dev/stdin,')")
    case "$rules|$*" in
    *"masquerade to"* | *"masquerade fully-random"* | *"masquerade random"*)
        refuse "a masquerade that always takes another port" ;;
    *masquerade*)
        start --uplink veth0 --pod 10.0.2.99=veth1 --pod dead:2::99=veth1 --masquerade ;;
    *dnat*) refuse "destinations of the node's own packets, in the stack's output hook" ;;
    *redirect*) refuse "pings to somebody else that the node keeps to itself" ;;
    *xlate_in*) refuse "translation without connections" ;;
    *"|flush chain "*" nat postrouting" | *"|delete table "*" nat")
        stop ;;
    *"|-F"*)
        running && command_to flush
        pass_on "" "$@" ;;
    *) pass_on "$rules" "$@" ;;
    esac
}

# pass_on RULES ARGS...: to the real program, with the rules that were read already.
pass_on() {
    local rules=$1
    shift
    if [ -n "$rules" ]; then
        echo "$rules" | exec "$name" -f -
    else
        exec "$name" "$@"
    fi
}

conntrack_icmp_related() {
    local rules=
    [ -z "$(rule_file "$@")" ] || rules=$(cat)
    case "$rules" in
    *masquerade*)
        start --uplink veth0 --pod 192.168.1.2=eth1 --pod dead:1::2=eth1 --masquerade ;;
    *) pass_on "$rules" "$@" ;;
    esac
}

conntrack_reverse_clash() {
    case "$name" in
    # Both ends are on one loopback device: its programs are those of a pod's device.
    nft) start --pod 127.0.0.11=lo --pod 127.0.0.12=lo ;;
    conntrack)
        running || refuse "no gateway"
        case "$*" in
        -F*) command_to flush ;;
        -L*) command_to conntrack ;;
        *) exit 0 ;;
        esac
        ;;
    esac
}

nf_nat_edemux() {
    case "$name $*" in
    "iptables --version" | "conntrack --version") exec "$name" "$@" ;;
    *"-A OUTPUT -d 10.96.0.1/32"*"--dport 443 -j DNAT --to-destination 192.168.1.1:5201"*)
        # The client's own stack there; here the client is a pod, and the other end of its link its node.
        FOREIGN_PEER=$(ip -o link show dev veth2 | sed -n 's/.*link-netns \([^ ]*\).*/\1/p')
        start --netns "${FOREIGN_PEER:?}" --pod 192.168.1.2=veth1 ;;
    *"-A PREROUTING"*"--dport 520"[23]" -j REDIRECT --to-ports 5201"*)
        sed -i "s/^\(  externalIPs: \)\[\] # with redirects$/\1[192.168.1.1]/" "$place/state.yaml"
        command_to apply ;;
    "conntrack --get "*)
        # Of the shape: -s A -d B -p tcp --sport S --dport D --state STATE
        local source=$3 destination=$5 sport=$9 dport=${11} state=${13}
        command_to conntrack |
            grep -q "^Original $state 0x.. tcp $source:$sport > $destination:$dport as " ;;
    "conntrack -L"*) command_to conntrack ;;
    "conntrack "*) exit 0 ;;
    *) refuse "$*" ;;
    esac
}

# The scripts look for netfilter's words in the entry of the connection to port 8080.
packetdrill_twinpath() {
    [ "$name" = conntrack ] || refuse "$*"
    local side phase bits rest
    command_to conntrack | while read -r side phase bits rest; do
        case "$side $rest" in
        "Original tcp "*":8080 as "*) ;;
        *) continue ;;
        esac
        case "$phase $((bits & 1)) $((bits & 12))" in
        "OPENING 0 "*) echo "SYN_SENT $rest [UNREPLIED]" ;;
        "OPENING 1 "*) echo "SYN_RECV $rest" ;;
        "ESTABLISHED 1 0") echo "ESTABLISHED $rest [ASSURED]" ;;
        ESTABLISHED*) echo "CLOSE_WAIT $rest [ASSURED]" ;; # one end is done
        CLOSING*) echo "CLOSE $rest [ASSURED]" ;;
        esac
    done
}

# The same scripts with netfilter between the ends: what the scripts call input comes from the remote end.
packetdrill_netfilter() {
    local arguments="$*"
    arguments=${arguments/ INPUT/ IN}
    arguments=${arguments/ OUTPUT/ OUT}
    # shellcheck disable=SC2086
    exec "$name" $arguments
}

"$FOREIGN_SUITE" "$@"
