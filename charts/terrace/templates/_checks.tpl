{{/* What the schema cannot say in a sentence. Included by the operator's Deployment, so that nothing is rendered. */}}
{{- define "terrace.checks" -}}
{{- include "terrace.checks.node" . -}}
{{- include "terrace.checks.classes" . -}}
{{- include "terrace.checks.probe" . -}}
{{- range $key, $value := dict "sidecars.provisioner.timeout" .Values.sidecars.provisioner.timeout "sidecars.provisioner.capacityPollInterval" .Values.sidecars.provisioner.capacityPollInterval "sidecars.resizer.timeout" .Values.sidecars.resizer.timeout "sidecars.snapshotter.timeout" .Values.sidecars.snapshotter.timeout }}
{{- if not (regexMatch "^([0-9]+(ms|s|m|h))+$" $value) }}{{ fail (printf "%s: %q is no span of time: write it as 60s or 1m30s" $key $value) }}{{ end }}
{{- end }}
{{- with .Values.telemetry.otlpEndpoint }}
{{- if not (regexMatch "^https?://[^ /]+:[0-9]+/?$" .) }}{{ fail (printf "telemetry.otlpEndpoint: %q is no address: write it as http://HOST:PORT" .) }}{{ end }}
{{- end }}
{{- end }}

{{- define "terrace.checks.path" -}}
{{- if or (not (regexMatch "^(/[^/]+)+$" .path)) (has ".." (splitList "/" .path)) (has "." (splitList "/" .path)) }}
{{- fail (printf "%s: %q is no folder to use: write an absolute path such as /var/lib/terrace, without dots and without a slash at its end" .key .path) }}
{{- end }}
{{- end }}

{{- define "terrace.checks.node" -}}
{{- $node := .Values.node }}
{{- include "terrace.checks.path" (dict "key" "node.kubeletDir" "path" $node.kubeletDir) }}
{{- include "terrace.checks.path" (dict "key" "node.stateDir" "path" $node.stateDir) }}
{{- $kubelet := printf "%s/" $node.kubeletDir }}
{{- if hasPrefix $kubelet (printf "%s/" $node.stateDir) }}{{ fail (printf "node.stateDir: %s lies in node.kubeletDir, where the kubelet cleans up: choose a folder of its own" $node.stateDir) }}{{ end }}
{{- range $node.poolDirectories }}
{{- include "terrace.checks.path" (dict "key" "node.poolDirectories" "path" .) }}
{{- if hasPrefix $kubelet (printf "%s/" .) }}{{ fail (printf "node.poolDirectories: %s lies in node.kubeletDir, where the kubelet cleans up: choose a folder of its own" .) }}{{ end }}
{{- if hasPrefix (printf "%s/" .) (printf "%s/" $node.stateDir) }}{{ fail (printf "node.poolDirectories: %s holds node.stateDir, where the journal lies: use a folder such as %s/pools" . $node.stateDir) }}{{ end }}
{{- if has . (list "/bin" "/boot" "/dev" "/etc" "/home" "/lib" "/opt" "/proc" "/root" "/run" "/sbin" "/srv" "/sys" "/tmp" "/usr" "/var" "/var/lib") }}{{ fail (printf "node.poolDirectories: %s belongs to the system: use a folder below it or elsewhere" .) }}{{ end }}
{{- end }}
{{- if not (regexMatch "^([1-9][0-9]*|[1-9][0-9]?%|100%)$" (toString $node.maxUnavailable)) }}{{ fail (printf "node.maxUnavailable: %v lets no node be upgraded: write a number from 1, or a share such as 10%%" $node.maxUnavailable) }}{{ end }}
{{- end }}

{{- define "terrace.checks.classes" -}}
{{- $seen := dict }}
{{- $defaults := list }}
{{- range .Values.storageClasses }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" .name) }}{{ fail (printf "storageClasses: %q cannot name an object: use lower-case letters, digits, '-' and '.'" .name) }}{{ end }}
{{- if eq .name "terrace-direct" }}{{ fail "storageClasses: terrace-direct is the class of Direct volumes, which the chart makes: choose another name" }}{{ end }}
{{- if hasKey $seen .name }}{{ fail (printf "storageClasses: two are named %q: give each a name of its own" .name) }}{{ end }}
{{- $_ := set $seen .name true }}
{{- if and .tier .pool }}{{ fail (printf "storageClasses: %q names both tier and pool: keep one of them" .name) }}{{ end }}
{{- if not (or .tier .pool) }}{{ fail (printf "storageClasses: %q names neither tier nor pool: name one of them" .name) }}{{ end }}
{{- with .latencyP99 }}{{ include "terrace.checks.latency" (dict "key" "storageClasses: latencyP99" "value" .) }}{{ end }}
{{- if .default }}{{ $defaults = append $defaults .name }}{{ end }}
{{- end }}
{{- if gt (len $defaults) 1 }}{{ fail (printf "storageClasses: %s all have default: true; a cluster has one default class" (join ", " $defaults)) }}{{ end }}
{{- end }}

{{/* The histogram tells latencies from 1 us to 16 s apart. */}}
{{- define "terrace.checks.latency" -}}
{{- if not (regexMatch "^([1-9][0-9]{0,5}us|([1-9][0-9]{0,3}|1[0-5][0-9]{3}|16000)ms|([1-9]|1[0-6])s)$" .value) }}{{ fail (printf "%s: %q is no latency from 1us to 16s: write it as 10ms" .key .value) }}{{ end }}
{{- end }}

{{- define "terrace.checks.probe" -}}
{{- $probe := .Values.probe }}
{{- include "terrace.checks.latency" (dict "key" "probe.latency.target" "value" $probe.latency.target) }}
{{- range $probe.directories }}{{ include "terrace.checks.path" (dict "key" "probe.directories" "path" .) }}{{ end }}
{{- if not (or $probe.operations.read $probe.operations.write $probe.operations.fsync $probe.operations.readdir) }}{{ fail "probe.operations: none is on, so there is nothing to measure: set probe.enabled=false instead" }}{{ end }}
{{- range $key, $value := dict "alerts.window" $probe.alerts.window "alerts.for" $probe.alerts.for "podMonitor.interval" $probe.podMonitor.interval "otlpInterval" $probe.otlpInterval }}
{{- if not (regexMatch "^[1-9][0-9]*(s|m)$" $value) }}{{ fail (printf "probe.%s: %q is no span of time: write it as 30s or 5m" $key $value) }}{{ end }}
{{- end }}
{{- end }}
