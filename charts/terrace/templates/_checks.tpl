{{/* What the schema cannot say: each refusal is a sentence. Included by the operator's Deployment. */}}
{{- define "terrace.checks" -}}
{{- $seen := dict }}
{{- $defaults := 0 }}
{{- range .Values.storageClasses }}
{{- if hasKey $seen .name }}{{ fail (printf "storageClasses: two are named %q: give each a name of its own" .name) }}{{ end }}
{{- $_ := set $seen .name true }}
{{- if and .tier .pool }}{{ fail (printf "storageClasses: %q names both tier and pool: keep one of them" .name) }}{{ end }}
{{- if not (or .tier .pool) }}{{ fail (printf "storageClasses: %q names neither tier nor pool: name one of them" .name) }}{{ end }}
{{- if .default }}{{ $defaults = add1 $defaults }}{{ end }}
{{- end }}
{{- if gt (int $defaults) 1 }}{{ fail "storageClasses: more than one has default: true; a cluster has one default class" }}{{ end }}
{{- $node := .Values.node }}
{{- $kubelet := printf "%s/" $node.kubeletDir }}
{{- if hasPrefix $kubelet (printf "%s/" $node.stateDir) }}{{ fail (printf "node.stateDir %s lies in node.kubeletDir: the kubelet cleans up there; choose a folder of its own" $node.stateDir) }}{{ end }}
{{- range $node.poolDirectories }}
{{- if hasPrefix $kubelet (printf "%s/" .) }}{{ fail (printf "node.poolDirectories: %s lies in node.kubeletDir: the kubelet cleans up there; choose a folder of its own" .) }}{{ end }}
{{- if eq . $node.stateDir }}{{ fail (printf "node.poolDirectories: %s is node.stateDir itself, where the journal lies: use a folder below it, such as %s/pools" . .) }}{{ end }}
{{- if has . (list "/bin" "/boot" "/dev" "/etc" "/lib" "/proc" "/run" "/sbin" "/sys" "/tmp" "/usr" "/var" "/var/lib") }}{{ fail (printf "node.poolDirectories: %s belongs to the system: use a folder below it or elsewhere" .) }}{{ end }}
{{- end }}
{{- end }}
