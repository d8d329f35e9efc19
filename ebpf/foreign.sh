#!/usr/bin/env bash
# Runs test suites of others with twinpath's programs in the middle, where they have netfilter.
#
#   ebpf/foreign.sh             installs what is missing (as root, on Debian), fetches the suites, runs all
#   ebpf/foreign.sh --no-setup  the same with what is there
#   ebpf/foreign.sh --cached    like --no-setup, and nothing at all where the suites were never fetched
#   ebpf/foreign.sh stun        these alone: selftests, packetdrill, collision, stun
#
#   TWINPATH_FOREIGN_CACHE     where suites are kept (default: foreign/ in cargo's build folder)
#   TWINPATH_DEBIAN_MIRROR     where they are fetched (default: http://deb.debian.org)
#   TWINPATH_FOREIGN_LOGS      a folder for what the suites print
#
# One line per check: what became of it, the suite, the check. docs/foreign.md says what was replaced, and why
# some checks do not transfer. What cannot run is said by name, and listed in the file that TWINPATH_SKIPPED
# names. The suites are the kernel's (GPL-2.0), coturn's and stun-client's: they are fetched and run,
# and no part of this repository.
#
# Exit codes: 0 fine; 1 a check failed; 2 usage; 3 something could not run, and nobody keeps a list.
set -uo pipefail
cd "$(dirname "$0")/.."
here=$PWD/ebpf/foreign
PATH=$PATH:/usr/sbin:/sbin

all=(selftests packetdrill collision stun)
setup=yes cached=no
suites=()
for word in "$@"; do
    case $word in
    --help | -h)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$here/../foreign.sh"
        exit 0
        ;;
    --no-setup) setup=no ;;
    --cached) setup=no cached=yes ;;
    *)
        if [[ " ${all[*]} " != *" $word "* ]]; then
            echo "ebpf/foreign.sh: there is no suite $word; there are ${all[*]}" >&2
            exit 2
        fi
        suites+=("$word")
        ;;
    esac
done
[ ${#suites[@]} != 0 ] || suites=("${all[@]}")
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cache=$(realpath -m "${TWINPATH_FOREIGN_CACHE:-$target/foreign}")
mirror=${TWINPATH_DEBIAN_MIRROR:-http://deb.debian.org}
series=6.12
scratch=$(mktemp -d)
spaces=()
passed=0 failed=0 skipped=0

say() { echo "ebpf/foreign.sh: $*" >&2; }

pass() { passed=$((passed + 1)) && echo "passed   $1: $2"; }
miss() { failed=$((failed + 1)) && echo "FAILED   $1: $2"; }
leave() { echo "$3  $1: $2"; }

skip() {
    skipped=$((skipped + 1))
    say "skipped: $1: $2"
    [ -z "${TWINPATH_SKIPPED:-}" ] || echo "$1: $2" >>"$TWINPATH_SKIPPED"
}

# Ends what this run started, by number, and removes the namespaces that it made.
clean_up() {
    local pid name
    for pid in $(cat "$scratch/pids" 2>/dev/null); do kill "$pid" 2>/dev/null; done
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    for name in "${spaces[@]}"; do ip netns delete "$name" 2>/dev/null; done
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Commands, and Debian's packages with them, by suite.
needed=(ip:iproute2:all ping:iputils-ping:selftests socat:socat:selftests socat:socat:packetdrill
    socat:socat:collision nft:nftables:selftests iptables:iptables:selftests iptables:iptables:packetdrill
    conntrack:conntrack:selftests conntrack:conntrack:packetdrill cc:gcc:selftests ethtool:ethtool:packetdrill
    nft:nftables:stun turnserver:coturn:stun stun:stun-client:stun)

# missing_packages SUITE
missing_packages() {
    local entry command package
    for entry in "${needed[@]}"; do
        IFS=: read -r command package suite <<<"$entry"
        [ "$suite" = all ] || [ "$suite" = "$1" ] || continue
        command -v "$command" >/dev/null || echo "$package"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(for suite in "${suites[@]}"; do missing_packages "$suite"; done | sort -u)
    [ ${#missing[@]} = 0 ] && return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0 # said by name later
    say "installing ${missing[*]}"
    # At this run level, no server that is installed is started.
    apt-get update -q >&2 &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >&2 ||
        say "that did not work"
}

# apt on lists of its own, so that the machine's sources stay as they are.
private_apt() {
    local command=$1
    shift
    "$command" -q -o Dir::State="$cache/apt" -o Dir::State::status="$cache/apt/status" \
        -o Dir::Cache="$cache/apt/cache" -o Dir::Etc::sourcelist="$cache/apt/sources.list" \
        -o Dir::Etc::sourceparts=- -o APT::Architecture=amd64 -o APT::Sandbox::User="$(id -un)" "$@"
}

# The kernel's selftests for netfilter, out of Debian's package of the source.
fetch_selftests() {
    local key=/usr/share/keyrings/debian-archive-keyring.gpg tree version
    [ -e "$cache/selftests/version" ] && return 0
    [ $setup = yes ] || return 1
    command -v apt-get >/dev/null && [ -e $key ] || return 1
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    : >"$cache/apt/status"
    echo "deb [arch=amd64 signed-by=$key] $mirror/debian bookworm-backports main" >"$cache/apt/sources.list"
    say "fetching linux-source-$series"
    private_apt apt-get update --error-on=any >&2 || return 1
    (cd "$scratch" && private_apt apt-get download "linux-source-$series" >&2) || return 1
    tree=linux-source-$series/tools/testing/selftests
    dpkg --fsys-tarfile "$scratch"/linux-source-*.deb | tar -xO "./usr/src/linux-source-$series.tar.xz" |
        tar -xJ -C "$scratch" "$tree/net/netfilter" "$tree/net/lib.sh" || return 1
    version=$(dpkg-deb -f "$scratch"/linux-source-*.deb Version)
    rm -rf "$scratch"/linux-source-*.deb "$cache/selftests"
    mv "$scratch/$tree/net" "$cache/selftests" && echo "$version" >"$cache/selftests/version"
}

# space NAME...: sets each name to that of a new namespace.
space() {
    local name
    for name in "$@"; do
        printf -v "$name" 'tp-%s-%s' "$name" "$(tr -dc a-z0-9 </dev/urandom | head -c 8)"
        ip netns add "${!name}" && spaces+=("${!name}") || return 1
        ip -n "${!name}" link set lo up
    done
}

forget_spaces() {
    local name
    for name in "${spaces[@]}"; do ip netns delete "$name"; done
    spaces=()
}

mac() { ip -n "$1" -o link show dev "$2" | sed 's/.*link.ether \([^ ]*\).*/\1/'; }

# three: a pod, a middle and an outside, over links pod-eth0 and out-eth0. Sets pod, middle, outside.
three() {
    local name
    space pod middle outside || return 1
    # A packet of 1,460 bytes of TCP data, in IPv6: as the scripts of packetdrill need.
    ip -n "$middle" link add out mtu 1520 type veth peer name eth0 mtu 1520 netns "$outside" &&
        ip -n "$middle" link add pod mtu 1520 type veth peer name eth0 mtu 1520 netns "$pod" || return 1
    ip -n "$middle" addr add 192.0.2.1/24 dev out
    ip -n "$middle" addr add 2001:db8::1/64 dev out nodad
    ip -n "$middle" addr add 10.0.2.1/24 dev pod
    ip -n "$middle" addr add fd00:2::1/64 dev pod nodad
    for name in out pod; do ip -n "$middle" link set "$name" up; done
    for name in "$pod" "$outside"; do ip -n "$name" link set eth0 up; done
    ip -n "$pod" addr add 10.0.2.2/24 dev eth0
    ip -n "$pod" addr add fd00:2::2/64 dev eth0 nodad
    ip -n "$pod" route add default via 10.0.2.1
    ip -n "$pod" route add default via fd00:2::1
    ip netns exec "$middle" sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# gateway STATE ARGS...: starts the gateway in the middle.
gateway() {
    local place=$scratch/gateway
    rm -rf "$place"
    mkdir -p "$place"
    mkfifo "$place/in"
    "$gateway" -f "$1" --netns "$middle" --uplink out --masquerade --control "$place/control" "${@:2}" \
        <>"$place/in" >"$place/out" 2>"$place/errors" &
    echo $! | tee "$place/pid" >>"$scratch/pids"
    for _ in $(seq 600); do
        grep -q '^ready' "$place/out" && return 0
        kill -0 "$(cat "$place/pid")" 2>/dev/null || break
        sleep 0.05
    done
    cat "$place/errors" >&2
    return 1
}

end_gateway() {
    local pid
    pid=$(cat "$scratch/gateway/pid") && kill "$pid" && wait "$pid"
    rm -f "$scratch/gateway/pid"
    : >"$scratch/pids"
}

# shims NAME...: a folder in which these names are the shim.
shims() {
    local name
    rm -rf "$scratch/bin"
    mkdir -p "$scratch/bin"
    for name in "$@"; do ln -s "$here/shim.sh" "$scratch/bin/$name"; done
}

# keep NAME FILE: what a suite printed, for those who want to read it.
keep() {
    [ -z "${TWINPATH_FOREIGN_LOGS:-}" ] || { mkdir -p "$TWINPATH_FOREIGN_LOGS" && cp "$2" "$TWINPATH_FOREIGN_LOGS/$1.log"; }
}

export FOREIGN_SUITE FOREIGN_SCRATCH=$scratch FOREIGN_GATEWAY FOREIGN_STATES=$here/states FOREIGN_PATH=$PATH

# judge SELFTEST LOG: a line per check of the list in the file checks.
judge() {
    local suite name verdict pattern rest=$scratch/rest
    grep -E 'ERROR|FAIL|FATAL' "$2" >"$rest"
    while IFS='|' read -r suite name verdict pattern; do
        [ "$suite" = "$1" ] || continue
        case $verdict in
        pass) grep -qE "$pattern" "$2" && pass "$1" "$name" || miss "$1" "$name" ;;
        fail) grep -qE "$pattern" "$2" && miss "$1" "$name" || pass "$1" "$name" ;;
        differs) grep -qE "$pattern" "$2" && leave "$1" "$name" "differs" || pass "$1" "$name" ;;
        skip) leave "$1" "$name" "skipped" ;;
        esac
        [ -z "$pattern" ] || { grep -vE "$pattern" "$rest" >"$rest.new"; mv "$rest.new" "$rest"; }
    done < <(grep -v '^#' "$here/checks")
    while read -r name; do miss "$1" "$name"; done <"$rest"
}

selftests() {
    local test log
    if ! fetch_selftests; then
        skip "foreign suites, selftests" "the kernel's source was not fetched"
        return
    fi
    for test in nft_nat conntrack_icmp_related conntrack_reverse_clash nf_nat_edemux; do
        log=$scratch/$test.log
        rm -rf "$scratch/gateway"
        FOREIGN_SUITE=$test
        shims nft iptables conntrack
        if [ -e "$cache/selftests/netfilter/$test.c" ]; then
            cc -O2 -o "$cache/selftests/netfilter/$test" "$cache/selftests/netfilter/$test.c" || {
                skip "foreign suites, $test" "it does not compile"
                continue
            }
        fi
        (cd "$cache/selftests/netfilter" && PATH=$scratch/bin:$PATH exec timeout -k 5 120 bash "./$test.sh") \
            >"$log" 2>&1 </dev/null
        [ $? != 124 ] || echo "FATAL: stopped after 120 s" >>"$log"
        [ ! -e "$scratch/gateway/pid" ] || kill "$(cat "$scratch/gateway/pid")" 2>/dev/null
        : >"$scratch/pids"
        keep "$test" "$log"
        judge "$test" "$log"
    done
}

# middle_by WHO: puts the gateway, or rules that do the same, in the middle.
middle_by() {
    local tables to
    case $1 in
    twinpath)
        gateway "$here/states/packetdrill.yaml" --pod 10.0.2.2=pod --pod fd00:2::2=pod
        return
        ;;
    esac
    for tables in iptables ip6tables; do
        set -- 192.0.2.1 10.0.2.2:8080 10.96.0.2 192.0.2.10:9090
        [ $tables = iptables ] || set -- 2001:db8::1 "[fd00:2::2]:8080" fd00:96::2 "[2001:db8::10]:9090"
        ip netns exec "$middle" $tables -t nat -A POSTROUTING -o out -j MASQUERADE &&
            ip netns exec "$middle" $tables -t nat -A PREROUTING -d "$1" -p tcp --dport 8080 -j DNAT --to "$2" &&
            ip netns exec "$middle" $tables -t nat -A PREROUTING -d "$3" -p tcp --dport 8080 -j DNAT --to "$4" ||
            return 1
        # What it cannot translate is for the middle itself; both count as the script's chain.
        for to in IN:out OUT:pod; do
            ip netns exec "$middle" $tables -N "${to%:*}" &&
                ip netns exec "$middle" $tables -A INPUT -i "${to#*:}" -j "${to%:*}" &&
                ip netns exec "$middle" $tables -A FORWARD -i "${to#*:}" -j "${to%:*}" || return 1
        done
    done
}

# drill SCRIPT FAMILY WHO: plays a script of the kernel's with this in the middle.
drill() {
    local address listens frontend connects options=()
    export xtables=iptables NFCT_IP_VERSION=$2
    address=192.0.2.10:9090 listens=10.0.2.2:8080 frontend=192.0.2.1:8080 connects=10.96.0.2:8080
    if [ "$2" = ipv6 ]; then
        xtables=ip6tables
        address=[2001:db8::10]:9090 listens=[fd00:2::2]:8080 frontend=[2001:db8::1]:8080 connects=[fd00:96::2]:8080
    fi
    three || return 1
    # Segments are sent and seen at the outside, where no stack may answer.
    ip netns exec "$outside" sysctl -q net.ipv6.conf.all.disable_ipv6=1
    ip -n "$middle" neigh add 192.0.2.10 lladdr "$(mac "$outside" eth0)" dev out nud permanent
    ip -n "$middle" neigh add 2001:db8::10 lladdr "$(mac "$outside" eth0)" dev out nud permanent
    # As packetdrill/common.sh of the kernel has it, as far as segments depend on it.
    ip netns exec "$pod" sysctl -q net.ipv4.tcp_ecn=0 net.ipv4.tcp_rmem="4096 540000 15728640"
    ip netns exec "$pod" ethtool -K eth0 tx off gso off tso off >/dev/null 2>&1
    middle_by "$3" || return 1
    FOREIGN_SUITE=packetdrill_$3
    shims iptables ip6tables
    if [ "$3" = twinpath ]; then
        shims conntrack
        options=(--without tables)
    fi
    PATH=$scratch/bin:$PATH timeout -k 5 60 "$drill" "${options[@]}" --local "$pod" --middle "$middle" \
        --remote "$outside" --device eth0 --mac "$(mac "$outside" eth0)" --gateway "$(mac "$middle" out)" \
        --address "$address" --listens "$listens" --frontend "$frontend" --connects "$connects" \
        "$cache/selftests/netfilter/packetdrill/$1.pkt" >"$scratch/drill.log" 2>&1
    local status=$?
    [ "$3" != twinpath ] || end_gateway
    forget_spaces
    keep "$1-$2-$3" "$scratch/drill.log"
    return $status
}

# What a script does not find here, on purpose: docs/deviations.md says why.
sequence_numbers='line (31|35|39|44|49): .*ESTABLISHED$'

packetdrill() {
    local script family
    if ! fetch_selftests; then
        skip "foreign suites, packetdrill" "the kernel's source was not fetched"
        return
    fi
    for script in conntrack_ack_loss_stall conntrack_inexact_rst conntrack_syn_challenge_ack conntrack_synack_old \
        conntrack_synack_reuse conntrack_rst_invalid; do
        for family in ipv4 ipv6; do
            if drill $script $family netfilter; then
                pass "packetdrill" "$script, $family, netfilter in the middle (the player is right)"
            else
                miss "packetdrill" "$script, $family, netfilter in the middle: $(grep -m1 failed "$scratch/drill.log")"
            fi
            if drill $script $family twinpath && ! grep -q '^unexpected: .* flags: "R' "$scratch/drill.log"; then
                pass "packetdrill" "$script, $family"
            elif ! grep '^failed' "$scratch/drill.log" | grep -qvE "$sequence_numbers"; then
                leave "packetdrill" "$script, $family / sequence numbers are not followed (docs/deviations.md)" "differs"
            else
                miss "packetdrill" "$script, $family: $(grep -m1 failed "$scratch/drill.log")"
            fi
        done
    done
}

# As nft_nat_zones.sh does: many clients on one port of theirs to one server, through one address.
collision() {
    local clients=100 i ports
    three || return
    ip -n "$outside" addr add 192.0.2.10/24 dev eth0
    ip -n "$pod" addr add 10.0.2.3/24 dev eth0
    {
        cat "$here/states/middle.yaml"
        for ((i = 10; i < 10 + clients; i++)); do
            printf -- '---\napiVersion: v1\nkind: Pod\nmetadata: {name: pod-%s, namespace: default}\n' $i
            printf 'spec: {nodeName: middle}\nstatus: {podIP: 10.0.2.%s}\n' $i
        done
    } >"$scratch/collision.yaml"
    local pods=()
    for ((i = 10; i < 10 + clients; i++)); do
        ip -n "$pod" addr add 10.0.2.$i/24 dev eth0
        pods+=(--pod "10.0.2.$i=pod")
    done
    if ! gateway "$scratch/collision.yaml" "${pods[@]}"; then
        miss "collision" "the gateway did not start"
        return
    fi
    # It answers with the port that it sees.
    ip netns exec "$outside" socat TCP-LISTEN:5201,fork,reuseaddr,backlog=256 'SYSTEM:echo $SOCAT_PEERPORT; sleep 20' \
        >/dev/null 2>&1 &
    echo $! >>"$scratch/pids"
    sleep 0.5
    for ((i = 10; i < 10 + clients; i++)); do
        ip netns exec "$pod" timeout 15 socat -u "TCP:192.0.2.10:5201,bind=10.0.2.$i:40000" \
            "OPEN:$scratch/port.$i,creat,append" 2>/dev/null </dev/null &
        echo $! >>"$scratch/pids"
    done
    for _ in $(seq 100); do
        ports=$(cat "$scratch"/port.* 2>/dev/null | sort -u | wc -l)
        [ "$ports" = $clients ] && break
        sleep 0.1
    done
    if [ "$ports" = $clients ] && grep -qx 40000 "$scratch"/port.*; then
        pass "collision" "$clients connections at once, one client port, one server: $clients ports, the first one kept"
    else
        miss "collision" "$clients connections at once, one client port, one server: $ports ports"
    fi
    kill $(cat "$scratch/pids") 2>/dev/null
    wait 2>/dev/null
    : >"$scratch/pids"
    forget_spaces
}

# probe WHAT COMMAND...: what a STUN client says in one line.
probe() {
    local log=$scratch/stun.log
    timeout -k 2 30 ip netns exec "$pod" "${@:2}" >"$log" 2>&1
    case $1 in
    collision)
        sed -n 's/.*reflexive addr: [0-9.]*:\([0-9]*\).*/\1/p' "$log" |
            awk '{ p[NR] = $1 } END { print NR < 2 ? "no answer" : p[1] != 40000 ? "the first port is not kept" : p[2] == p[1] ? "one port for two clients" : "another port for the second client" }'
        ;;
    stun) grep -m1 '^Primary' "$log" | sed 's/^Primary: //; s/[[:space:]]*$//' ;;
    *) grep -m1 -oE '(Endpoint Independent|Address Dependent|Address and Port Dependent) (Mapping|Filtering)' "$log" || echo "no answer" ;;
    esac
}

# probes WHO: the answers of all probes, one per line, with this in the middle.
probes() {
    three || return 1
    ip -n "$pod" addr add 10.0.2.3/24 dev eth0
    ip -n "$outside" addr add 192.0.2.10/24 dev eth0
    ip -n "$outside" addr add 192.0.2.11/24 dev eth0
    if [ "$1" = twinpath ]; then
        gateway "$here/states/stun.yaml" --pod 10.0.2.2=pod --pod 10.0.2.3=pod || return 1
    else
        ip netns exec "$middle" nft "table ip nat { chain postrouting { type nat hook postrouting priority 0; oifname \"out\" masquerade ${1#nft}; } ; }" || return 1
    fi
    ip netns exec "$outside" turnserver -n -S -L 192.0.2.10 -L 192.0.2.11 --no-tls --no-dtls --no-cli --log-file stdout \
        --pidfile "$scratch/turn.pid" --userdb "$scratch/turn.db" >"$scratch/turn.log" 2>&1 &
    local server=$!
    echo $server >>"$scratch/pids"
    sleep 1
    probe mapping turnutils_natdiscovery -m 192.0.2.10
    probe filtering turnutils_natdiscovery -f 192.0.2.10
    probe mapping turnutils_natdiscovery -m -P 192.0.2.10
    probe collision turnutils_natdiscovery -c -L 10.0.2.2 -l 40000 -A 10.0.2.3 192.0.2.10
    probe stun stun 192.0.2.10 0 -p 50000
    probe stun stun 192.0.2.10 0 -p 20000
    kill $server
    wait $server 2>/dev/null
    [ "$1" != twinpath ] || end_gateway
    forget_spaces
}

stun() {
    local names=(mapping filtering "mapping, datagrams in fragments" "two clients on one port"
        "all at once, client port 50000" "all at once, client port 20000") ours theirs random i
    probes twinpath >"$scratch/ours"
    probes nft >"$scratch/theirs"
    probes "nft fully-random" >"$scratch/random"
    mapfile -t ours <"$scratch/ours"
    mapfile -t theirs <"$scratch/theirs"
    mapfile -t random <"$scratch/random"
    printf '%-34s| %-50s| %-50s| %s\n' "STUN probe" twinpath "nft masquerade" "nft masquerade fully-random"
    for i in "${!names[@]}"; do
        printf '%-34s| %-50s| %-50s| %s\n' "${names[$i]}" "${ours[$i]:-}" "${theirs[$i]:-}" "${random[$i]:-}"
    done
    for i in "${!names[@]}"; do
        if [ -z "${ours[$i]:-}" ] || [ "${ours[$i]}" = "no answer" ]; then
            miss stun "${names[$i]}: no answer"
        elif [ "${ours[$i]}" = "${theirs[$i]:-}" ]; then
            pass stun "${names[$i]}: as nft's masquerade"
        elif [ $i = 5 ] && [ "${ours[$i]}" = "Dependent Mapping, random port, no hairpin" ]; then
            leave stun "${names[$i]} / a port out of the node's range never stays (docs/deviations.md, 24)" "differs"
        else
            miss stun "${names[$i]}: ${ours[$i]}; nft's masquerade: ${theirs[$i]:-}"
        fi
    done
}

if [ $cached = yes ] && ! [ -e "$cache/selftests/version" ]; then
    echo "foreign suites: not run, never fetched (ebpf/foreign.sh fetches them)"
    exit 0
fi
if ! [ -e ebpf/loader/object/twinpath.o ]; then
    skip "foreign suites" "the programs are not built: run ebpf/build.sh"
elif [ "$(id -u)" != 0 ]; then
    skip "foreign suites" "network namespaces and loading programs need root"
else
    [ $setup = no ] || install_packages
    cargo build --locked --quiet -p twinpath-kernel --example gateway --example drill || exit 1
    gateway=$target/debug/examples/gateway drill=$target/debug/examples/drill
    FOREIGN_GATEWAY=$gateway
    for suite in "${suites[@]}"; do
        mapfile -t missing < <(missing_packages "$suite" | sort -u)
        if [ ${#missing[@]} != 0 ]; then
            skip "foreign suites, $suite" "not installed: ${missing[*]}"
        else
            "$suite"
        fi
    done
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ $failed = 0 ] || exit 1
[ $skipped = 0 ] || [ -n "${TWINPATH_SKIPPED:-}" ] || exit 3
