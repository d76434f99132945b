{{/* Labels of every object. */}}
{{- define "terrace.labels" -}}
{{ include "terrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: terrace
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select Pods, without the component. */}}
{{- define "terrace.selector" -}}
app.kubernetes.io/name: terrace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Name of the CSI driver. */}}
{{- define "terrace.driver" -}}csi.terrace.storage{{- end }}

{{/* User names of the two service accounts, as the API server sees them. */}}
{{- define "terrace.operatorUser" -}}system:serviceaccount:{{ .Release.Namespace }}:terrace-operator{{- end }}
{{- define "terrace.nodeUser" -}}system:serviceaccount:{{ .Release.Namespace }}:terrace-node{{- end }}

{{/* Environment of Terrace's own programs. */}}
{{- define "terrace.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# One heap for all threads: what one gives back another uses.
- name: MALLOC_ARENA_MAX
  value: "1"
# No thread keeps what it freed for itself: there may be sixty that look at the host.
- name: GLIBC_TUNABLES
  value: glibc.malloc.tcache_count=0
# Larger buffers are mappings of their own, and go when they are freed.
- name: MALLOC_MMAP_THRESHOLD_
  value: "65536"
- name: TERRACE_LOG
  value: {{ .Values.telemetry.logFilter | quote }}
{{- with .Values.telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Container security that needs no reason: no root, no capabilities, nothing written. */}}
{{- define "terrace.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Not empty where snapshots are to work: asked for, and the cluster knows their kinds. Without the kinds csi-snapshotter
     waits and the snapshot-controller ends, so neither is rendered, and NOTES.txt says why. */}}
{{- define "terrace.snapshots" -}}
{{- if and .Values.snapshots.enabled (.Capabilities.APIVersions.Has "snapshot.storage.k8s.io/v1/VolumeSnapshot") }}true{{ end }}
{{- end }}

{{/* The same for snapshots of several volumes at one instant. */}}
{{- define "terrace.groupSnapshots" -}}
{{- if and (include "terrace.snapshots" .) (.Capabilities.APIVersions.Has "groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshot") }}true{{ end }}
{{- end }}

{{/* Not empty where the chart brings the snapshot-controller. */}}
{{- define "terrace.snapshotController" -}}
{{- if and .Values.snapshotController.install (.Capabilities.APIVersions.Has "snapshot.storage.k8s.io/v1/VolumeSnapshot") }}true{{ end }}
{{- end }}

{{/* Not empty where the rules over the probe's metrics are rendered: asked for, and the cluster knows their kind. */}}
{{- define "terrace.probeRules" -}}
{{- if and .Values.probe.enabled .Values.probe.alerts.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PrometheusRule") }}true{{ end }}
{{- end }}
