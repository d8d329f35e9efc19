#!/usr/bin/env bash
# The instruction gauge: what packets cost, in instructions, on Debian's 6.12 in an emulated guest whose
# clock goes on by a nanosecond with each. docs/gauge.md says more.
#
#   ebpf/gauge.sh             measures, and prints the table
#   ebpf/gauge.sh --check     compares it with ebpf/programs/gauge.txt: fails where a row of ours is 3 % over
#   ebpf/gauge.sh --bless     writes it there
#   ebpf/gauge.sh --twice     measures in two boots, and fails where they differ by more than 1 %
#   ebpf/gauge.sh --no-setup  with any of these: installs and fetches nothing
#
# What is missing is installed (as root, on Debian) or fetched and unpacked, as by ebpf/guest.sh, with the
# same variables. What cannot run is said by name, and listed in the file that TWINPATH_SKIPPED names.
# Exit codes: 0 fine; 1 something failed; 3 something could not run, and nobody keeps a list.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=300 # for a boot, by the clock
series=6.12
table=ebpf/programs/gauge.txt
tools=(ipvsadm libnl-3-200 libnl-genl-3-200 libpopt0 ipset libipset13 libmnl0)
needed=(iptables-legacy:iptables nft:nftables)
modules=(
    veth dummy sch_ingress cls_bpf
    iptable_nat iptable_filter iptable_mangle nf_conntrack nf_conntrack_netlink nf_nat
    xt_addrtype xt_comment xt_conntrack xt_mark xt_MASQUERADE xt_nat xt_set xt_statistic xt_tcpudp xt_ipvs
    ipt_REJECT nf_reject_ipv4
    nf_tables nft_chain_nat nft_compat nft_ct nft_fib nft_fib_ipv4 nft_fib_inet nft_hash nft_masq nft_nat
    nft_numgen nft_reject nft_reject_ipv4 nf_reject_ipv6 nft_reject_ipv6 nft_reject_inet nft_fib_ipv6
    ip_vs ip_vs_rr ip_set ip_set_hash_ip ip_set_hash_ipport ip_set_hash_ipportip ip_set_hash_ipportnet ip_set_hash_net
    ip_set_bitmap_port
)

job=print setup=yes
for option in "$@"; do
    case $option in
    --check | --bless | --twice) job=${option#--} ;;
    --no-setup) setup=no ;;
    *) echo "ebpf/gauge.sh: there is no option $option" >&2 && exit 2 ;;
    esac
done
. ebpf/guest/lib.sh

furnish() {
    local name tool
    put "$target/release/examples/gauge" bin/gauge "$1"
    put "$(command -v nft)" bin/nft "$1"
    put "$(command -v timeout)" bin/timeout "$1"
    # Programs with many names, and their plugins where they look for them.
    for name in iptables-legacy iptables-nft; do
        tool=$(realpath "$(command -v $name)")
        put "$tool" "bin/${tool##*/}" "$1"
        ln -sf "${tool##*/}" "$1/bin/$name"
        ln -sf "${tool##*/}" "$1/bin/$name-restore"
        ln -sf "${tool##*/}" "$1/bin/$name-save"
    done
    ln -sf iptables-nft-restore "$1/bin/iptables-restore"
    mkdir -p "$1/usr/lib/x86_64-linux-gnu"
    cp -r /usr/lib/x86_64-linux-gnu/xtables "$1/usr/lib/x86_64-linux-gnu/"
    # For ipset, which asks by name.
    mkdir -p "$1/etc"
    printf '%s\n' 'icmp 1 ICMP' 'tcp 6 TCP' 'udp 17 UDP' 'sctp 132 SCTP' >"$1/etc/protocols"
    # The only one that is linked with more than the programs are.
    put /usr/lib/x86_64-linux-gnu/xtables/libxt_statistic.so usr/lib/x86_64-linux-gnu/xtables/libxt_statistic.so "$1"
    for tool in ipvsadm ipset; do
        put "$(find "$cache/tools" -path "*bin/$tool" | head -n 1)" bin/$tool "$1"
    done
}

commands() {
    cat <<'END'
gauge >rows 2>errors
status=$?
busybox sed 's/^/gauge: /' rows
(exit $status)
END
}

# measure PACKAGE FILE: a boot, whose table goes into the file.
measure() {
    boot "$1" $seconds -accel tcg,thread=single -icount shift=0,sleep=off || {
        cat "$scratch/log"
        return 1
    }
    {
        echo "# kernel: ${1#linux-image-}"
        echo "# programs: $(cat ebpf/loader/object/compiler.txt)"
        sed -n 's/^gauge: //p' "$scratch/log"
    } >"$2"
    grep -v '^gauge: ' "$scratch/log" >&2
}

gauge() {
    local missing package status=0
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} != 0 ]; then
        skip "gauge" "not installed: ${missing[*]}"
        return
    fi
    package=$(newest $series)
    if [ -z "$package" ]; then
        skip "gauge" "Debian's packages cannot be had"
        return
    elif ! fetch "$package" $series || ! fetch_tools "${tools[@]}"; then
        skip "gauge" "$package or ${tools[*]} cannot be fetched"
        return
    fi
    initramfs "$package" "$scratch/initramfs"
    if ! measure "$package" "$scratch/once"; then
        fail "$package"
        return
    fi
    case $job in
    print) "$target/release/examples/gauge" --table "$scratch/once" ;;
    bless) "$target/release/examples/gauge" --table "$scratch/once" >$table ;;
    check) "$target/release/examples/gauge" --check $table "$scratch/once" || status=$? ;;
    twice)
        measure "$package" "$scratch/again" &&
            "$target/release/examples/gauge" --agree "$scratch/once" "$scratch/again" || status=$?
        ;;
    esac
    case $status in
    0) ;;
    4) skip "gauge table" "absent for this compiler ($(cat ebpf/loader/object/compiler.txt))" ;;
    *) fail "the gauge (ebpf/gauge.sh --bless writes $table anew)" ;;
    esac
}

if ! [ -e ebpf/loader/object/twinpath.o ]; then
    skip "gauge" "the programs are not built: run ebpf/build.sh"
elif [ "$(uname -sm)" != "Linux x86_64" ]; then
    skip "gauge" "absent: guests for $(uname -sm)"
else
    [ $setup = no ] || install_packages
    cargo build --locked --release --quiet -p twinpath-benches --example gauge
    gauge
fi
finish
