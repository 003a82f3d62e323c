# SPDX-License-Identifier: Apache-2.0
# bash completion for quicport. What there is to choose from is asked of the program itself.

# "--name ARGUMENT" of each option of a command; also "-x ARGUMENT" for those with a letter.
_quicport_options() {
	"$@" --help 2>/dev/null |
		sed -nE 's/^ +(-[A-Za-z]), (--[a-z0-9-]+)(=([^ ]+))?.*$/\1 \4\n\2 \4/p
			s/^ +(--[a-z0-9-]+)(=([^ ]+))?.*$/\1 \3/p'
}

_quicport_commands() {
	"$@" help 2>/dev/null | sed -nE 's/^  ([a-z][a-z-]+)  +.*$/\1/p'
}

# What an argument of this name may be.
_quicport_values() {
	case $1 in
	FILE | DIR | PATH)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$2")
		;;
	BOOL) mapfile -t COMPREPLY < <(compgen -W 'yes no' -- "$2") ;;
	FORMAT) mapfile -t COMPREPLY < <(compgen -W 'console json' -- "$2") ;;
	LEVEL) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug trace' -- "$2") ;;
	PROTO) mapfile -t COMPREPLY < <(compgen -W 'tcp udp' -- "$2") ;;
	BY) mapfile -t COMPREPLY < <(compgen -W 'in out connections name rtt up' -- "$2") ;;
	TYPE)
		mapfile -t COMPREPLY < <(compgen -W 'tunnel_opened tunnel_closed port_opened port_closed
			auth_failed data_plane config policy stats' -- "$2")
		;;
	esac
}

_quicport() {
	local program=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev='' command=''
	local options argument i
	local -a path

	COMPREPLY=()
	[ "$COMP_CWORD" -lt 2 ] || prev=${COMP_WORDS[COMP_CWORD - 1]}
	# bash takes "--name=value" for three words.
	if [ "$cur" = "=" ]; then
		cur=
	elif [ "$prev" = "=" ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--log-format | --log-output | --log-level | --api | --token-file | --cacert | --timeout)
			[ "${COMP_WORDS[i + 1]}" = "=" ] || i=$((i + 1))
			;;
		= | -*) [ "${COMP_WORDS[i]}" != "=" ] || i=$((i + 1)) ;;
		*)
			command=${COMP_WORDS[i]}
			path+=("$command")
			# The one command that has commands of its own.
			[ "${path[*]}" = admin ] || break
			command=
			;;
		esac
	done
	if { [ -z "$command" ] && [[ $cur != -* ]]; } || [ "$command" = help ]; then
		[ "$command" != help ] || unset 'path[-1]'
		mapfile -t COMPREPLY < <(compgen -W "$(_quicport_commands "$program" "${path[@]}")" -- "$cur")
		return
	fi
	options=$(_quicport_options "$program" "${path[@]}")
	argument=$(awk -v name="$prev" '$1 == name { print $2; exit }' <<<"$options")
	if [ -n "$argument" ]; then
		_quicport_values "$argument" "$cur"
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(awk '/^--/ { print $1 }' <<<"$options")" -- "$cur")
	elif [ "$command" = status ]; then
		mapfile -t COMPREPLY < <(compgen -W \
			"$("$program" status 2>/dev/null | sed -nE 's/^client ([0-9]+).*$/\1/p')" -- "$cur")
	fi
}

complete -F _quicport quicport
