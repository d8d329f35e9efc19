#!/usr/bin/env bash
# Runs twinpath for the action, and tells the job what came of it. Inputs come by the environment and are
# never part of a command line that a shell reads: they may be written by strangers.
#
#   INPUT_COMMAND     replay or diff
#   INPUT_CAPTURES    captures, one per line; patterns are expanded
#   INPUT_STATE       cluster dumps, one per line
#   INPUT_AGAINST     diff: the other cluster dump
#   INPUT_ARGUMENTS   further arguments, one per line
#   INPUT_FAIL_ON     diff, drop, unmatched, never: words with commas between
#   INPUT_ON_MISSING  neutral or fail: what a machine is that lacks what was asked for (exit code 3)
#   INPUT_OUTPUT      the folder for what is uploaded
set -uo pipefail

out=${INPUT_OUTPUT:?}
mkdir -p "$out"

# What GitHub reads as a command is one line: its data has these three escaped.
escape() {
    local text=$1
    text=${text//'%'/'%25'}
    text=${text//$'\r'/'%0D'}
    printf %s "${text//$'\n'/'%0A'}"
}
say() { printf '::%s title=twinpath::%s\n' "$1" "$(escape "$2")"; }
result() { printf 'result=%s\nexit-code=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; }
refuse() {
    say error "$1"
    result error 2
    exit 2
}

# lines NAME TEXT: an array of the lines that are not empty, without blanks around them.
lines() {
    local -n into=$1
    local line
    into=()
    while IFS= read -r line || [ -n "$line" ]; do
        line="${line#"${line%%[![:space:]]*}"}"
        line="${line%"${line##*[![:space:]]}"}"
        [ -n "$line" ] && into+=("$line")
    done <<<"$2"
    return 0
}

patterns=() states=() more=()
lines patterns "${INPUT_CAPTURES:-}"
lines states "${INPUT_STATE:-}"
lines more "${INPUT_ARGUMENTS:-}"
captures=()
for pattern in "${patterns[@]}"; do
    if [ -e "$pattern" ]; then
        captures+=("$pattern")
        continue
    fi
    mapfile -t found < <(compgen -G "$pattern" | LC_ALL=C sort)
    # NODE=FILE is no file by that name; what is nothing at all, twinpath says best.
    [ ${#found[@]} -gt 0 ] && captures+=("${found[@]}") || captures+=("$pattern")
done
[ ${#captures[@]} -gt 0 ] || refuse "captures: none given"

# A word that is none of these would never fail a job, and nobody would notice.
fail_on=${INPUT_FAIL_ON:-diff}
fail_on=${fail_on//[[:space:]]/}
IFS=, read -ra kinds <<<"$fail_on"
for kind in "${kinds[@]}"; do
    case $kind in
    diff | drop | unmatched | never) ;;
    *) refuse "fail-on: '$kind' is none of diff, drop, unmatched, never" ;;
    esac
done
case ${INPUT_ON_MISSING:-neutral} in
neutral | fail) ;;
*) refuse "on-missing: give neutral or fail" ;;
esac

command=${INPUT_COMMAND:-replay}
words=("$command")
for state in "${states[@]}"; do words+=("--filename=$state"); done
case $command in
replay) words+=(--quiet --output=json "--write=$out/stages.pcapng") ;;
diff) [ -z "${INPUT_AGAINST:-}" ] || words+=("--against=$INPUT_AGAINST") ;;
*) refuse "command: give replay or diff" ;;
esac
if [[ $(twinpath "$command" --help 2>/dev/null) == *'--report '* ]]; then
    words+=("--report=$out/report.html")
fi
words+=("${more[@]}" -- "${captures[@]}")

twinpath "${words[@]}" >"$out/output" 2>"$out/messages"
code=$?
cat "$out/messages" >&2
[ "$command" = diff ] && cat "$out/output"

# Text of others in Markdown: no fence can be closed, no tag opened.
fenced() { printf '\n```text\n'; head -c 60000 "$1" | tr -d '`' | sed 's/\r$//'; printf '\n```\n'; }
table() {
    jq -rs '
      def text: tostring | gsub("[\\r\\n]"; " ") | gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub("\\|"; "&#124;")
          | gsub("`"; "&#96;") | gsub("\\["; "&#91;") | gsub("@"; "&#64;");
      map(select(.type == "summary")) | last | select(. != null)
      | "| verdict | packets |", "|---|---:|", (.verdicts | to_entries[] | "| \(.key) | \(.value) |"), "",
        (select(.drops != {}) | "| drop reason | packets |", "|---|---:|",
          (.drops | to_entries | sort_by(-.value)[] | "| \(.key | text) | \(.value) |"), ""),
        "\(.packets) packets in \(.flows) flows; of \(.replies.checked) replies \(.replies.different) arrived otherwise than captured.", "",
        (select(.shares != []) | "<details><summary>Backends</summary>", "", "| service | backend | connections |", "|---|---|---:|",
          (.shares[:200][] | "| \("\(.service.namespace)/\(.service.name):\(.service.port)" | text) | \("\(.backend.pod // "") \(.backend.address)" | text) | \(.connections) |"),
          "", "</details>", ""),
        (.inputs[] | "- \(.path | text): sha256 \(.sha256 | text)"),
        "- world \(.world), seed \(.seed), cluster \(.cluster.source | text), twinpath \(.twinpath)"
    ' "$out/output"
}
summary() {
    printf '## twinpath %s: %s\n\n' "$command" "$1"
    if [ "$command" = replay ]; then table; else fenced "$out/output"; fi
    if [ -s "$out/messages" ]; then
        printf '\n<details><summary>Messages</summary>\n'
        fenced "$out/messages"
        printf '\n</details>\n'
    fi
}
count() { jq -rs "map(select(.type == \"summary\")) | last | $1 // 0" "$out/output" 2>/dev/null || echo 0; }

fails() { [[ ",$fail_on," == *",$1,"* ]]; }
verdict=same end=0
# found KIND WORDS: something that may be what the job fails on.
found() {
    verdict=$1
    if fails "$1"; then
        end=1
        say error "$2"
    else
        say warning "$2"
    fi
}
case $code in
0 | 1)
    if [ "$command" = replay ]; then
        unmatched=$(count .verdicts.UNMATCHED)
        dropped=$(count .verdicts.DROPPED)
        if [ "$unmatched" -gt 0 ]; then found unmatched "$unmatched packets are replies without a known request"; fi
        if [ "$dropped" -gt 0 ]; then
            reasons=$(count '(.drops | to_entries | sort_by(-.value) | map("\(.value) \(.key)") | join(", "))')
            found drop "$dropped packets dropped: $reasons"
        fi
    fi
    if [ $code = 1 ]; then found diff "$(head -n 1 "$out/messages" | grep . || echo "there are differences")"; fi
    ;;
3)
    verdict=skipped
    if [ "${INPUT_ON_MISSING:-neutral}" = neutral ]; then
        say notice "skipped: $(tail -n 1 "$out/messages")"
    else
        say error "$(tail -n 1 "$out/messages")"
        end=3
    fi
    ;;
4)
    verdict=nothing end=4
    say error "no packet was replayed"
    ;;
*)
    verdict=error end=$code
    say error "$(tail -n 1 "$out/messages")"
    ;;
esac
summary "$verdict" >>"$GITHUB_STEP_SUMMARY"
result "$verdict" "$code"
exit $end
