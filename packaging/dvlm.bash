# What bash completes of dvlm: commands and options, as --help of the installed program lists them.
_dvlm() {
  local word=${COMP_WORDS[COMP_CWORD]} path=("${COMP_WORDS[@]:0:COMP_CWORD}") command=() part
  for part in "${path[@]:1}"; do
    [[ $part == -* ]] && break
    command+=("$part")
  done
  if [[ $word == -* ]]; then
    local options
    options=$("${path[0]}" "${command[@]}" --help 2>/dev/null | grep -oE '^ +(-[A-Za-z],)?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+')
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
  elif ((${#command[@]} == COMP_CWORD - 1)); then
    local commands
    commands=$("${path[0]}" "${command[@]}" --help 2>/dev/null | sed -n '/^Subcommands:/,$s/^  \([a-z]\+\) .*/\1/p')
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word"; compgen -f -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _dvlm dvlm
