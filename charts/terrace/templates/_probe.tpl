{{/* The probe's container. It holds no mount of a volume, no token, and of the host only what is listed here. */}}
{{- define "terrace.probe" -}}
{{- $probe := .Values.probe -}}
- name: probe
  image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/usr/bin/terrace-probe]
  args:
    {{- include "terrace.probe.args" . | nindent 4 }}
  env:
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    {{- include "terrace.env" . | nindent 4 }}
  ports:
    - {name: probe, containerPort: 9810, protocol: TCP}
  livenessProbe:
    httpGet: {path: /healthz, port: probe}
    initialDelaySeconds: 10
    periodSeconds: 30
    timeoutSeconds: 5
    failureThreshold: 6
  securityContext:
    privileged: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    # No user but root gets capabilities into its effective set without a file that carries them.
    runAsUser: 0
    runAsGroup: 0
    seccompProfile: {type: RuntimeDefault}
    capabilities:
      drop: [ALL]
      add:
        # Loads the programs and makes their maps.
        - BPF
        # Attaches them to tracepoints and functions, and lets them read the kernel's memory.
        - PERFMON
        {{- range $probe.extraCapabilities }}
        - {{ . }}
        {{- end }}
  resources:
    {{- toYaml $probe.resources | nindent 4 }}
  volumeMounts:
    - {name: probe-socket, mountPath: /run/terrace}
    # Names of mounts, cgroups and commands; everybody may read those, so it takes neither hostPID nor SYS_PTRACE.
    - {name: host-proc, mountPath: /host/proc, readOnly: true}
    {{- if $probe.pins }}
    # A bpffs that the node agent mounts: maps and links outlive this container.
    - {name: bpf, mountPath: /var/lib/terrace/bpf, mountPropagation: HostToContainer}
    {{- end }}
{{- end }}

{{- define "terrace.probe.volumes" -}}
- name: probe-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: host-proc
  hostPath: {path: /proc, type: Directory}
{{- if .Values.probe.pins }}
- name: bpf
  hostPath: {path: {{ .Values.node.stateDir }}/bpf, type: DirectoryOrCreate}
{{- end }}
{{- end }}

{{/* Every switch and number of the values as flags; the tests of the chart hold them against the values. */}}
{{- define "terrace.probe.args" -}}
{{- $probe := .Values.probe }}
{{- $operations := list }}
{{- range $name := list "read" "write" "fsync" "readdir" }}{{ if get $probe.operations $name }}{{ $operations = append $operations $name }}{{ end }}{{ end }}
{{- $types := list }}
{{- range $name := list "pvc" "configmap" "secret" "hostpath" "emptydir" "projected" "downwardapi" }}{{ if get $probe.volumeTypes $name }}{{ $types = append $types $name }}{{ end }}{{ end -}}
- --kubelet-dir={{ .Values.node.kubeletDir }}
- --proc=/host/proc
- --probe-socket=/run/terrace/probe.sock
- --pins={{ ternary "/var/lib/terrace/bpf/probe" "none" $probe.pins }}
- --operations={{ join "," $operations }}
- --volume-types={{ join "," $types }}
- --sampling={{ $probe.sampling }}
- --tier={{ $probe.tier }}
- --block-times={{ ternary "on" "off" $probe.blockTimes }}
- --slow-threshold={{ $probe.latency.target }}
- --critical-threshold={{ $probe.latency.critical }}
- --enter-windows={{ int $probe.latency.enterWindows }}
- --leave-windows={{ int $probe.latency.leaveWindows }}
- --leave-percent={{ int $probe.latency.leavePercent }}
- --least-operations={{ int $probe.latency.leastOperations }}
- --event-lines={{ ternary "on" "off" $probe.slowEvents.lines }}
- --event-buffer={{ int $probe.slowEvents.buffer }}
- --events-per-second={{ int $probe.slowEvents.perSecond }}
- --host-events={{ ternary "on" "off" $probe.slowEvents.host }}
- --container-correlation={{ ternary "on" "off" $probe.slowEvents.containers }}
{{- if $probe.askedNames }}
- --asked-names
{{- end }}
- --listen=0.0.0.0:9810
- --otlp-interval={{ $probe.otlpInterval }}
- --log-format={{ .Values.telemetry.logFormat }}
{{- with $probe.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
