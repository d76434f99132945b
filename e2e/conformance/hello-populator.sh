#!/bin/sh
# Stands for the suite's image hello-populator, which cannot be had here: fills claims whose dataSourceRef is a Hello.
# As a populator does: a claim of its own is filled by a Pod, then that claim's volume is handed to the one that asked.
for word in "$@"; do
  case $word in
    --mode=*) mode=${word#*=} ;;
    --namespace=*) own=${word#*=} ;;
    --image-name=*) image=${word#*=} ;;
    --file-name=*) file=${word#*=} ;;
    --file-contents=*) contents=${word#*=} ;;
  esac
done

if [ "$mode" = populate ]; then
  printf '%s' "$contents" > "/mnt/$file"
  exit
fi

# A line for each claim from a Hello. It has a node once the scheduler chose one, and a volume once it is served.
claims='{range .items[?(@.spec.dataSourceRef.kind=="Hello")]}{.metadata.namespace}|{.metadata.name}|{.metadata.uid}|{.metadata.annotations.volume\.kubernetes\.io/selected-node}|{.spec.storageClassName}|{.spec.resources.requests.storage}|{.spec.dataSourceRef.name}|{.spec.volumeName}{"\n"}{end}'

# A claim that only this populator uses, and a Pod that writes into it. Both may be there already.
fill() {
  file=$(kubectl --namespace "$namespace" get hellos.hello.example.com "$hello" --output 'jsonpath={.spec.fileName}')
  contents=$(kubectl --namespace "$namespace" get hellos.hello.example.com "$hello" --output 'jsonpath={.spec.fileContents}')
  kubectl --namespace "$own" create --validate=false --filename - <<EOF
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: prime-$uid
  annotations: {volume.kubernetes.io/selected-node: "$node"}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: $class
  resources: {requests: {storage: "$size"}}
---
apiVersion: v1
kind: Pod
metadata: {name: populate-$uid}
spec:
  restartPolicy: OnFailure
  containers:
  - name: populate
    image: $image
    imagePullPolicy: IfNotPresent
    args: ["--mode=populate", "--file-name=$file", "--file-contents=$contents"]
    volumeMounts: [{name: target, mountPath: /mnt}]
  volumes: [{name: target, persistentVolumeClaim: {claimName: prime-$uid}}]
EOF
}

# The volume's claimRef is all that ties it to a claim.
hand_over() {
  volume=$(kubectl --namespace "$own" get pvc "prime-$uid" --output 'jsonpath={.spec.volumeName}')
  [ -n "$volume" ] || return
  kubectl patch pv "$volume" --type merge --patch "{\"metadata\":{\"annotations\":{\"populator.storage.k8s.io/populated-from\":\"$namespace/$hello\"}},\"spec\":{\"claimRef\":{\"namespace\":\"$namespace\",\"name\":\"$name\",\"uid\":\"$uid\",\"resourceVersion\":\"\"}}}"
}

while sleep 1; do
  kubectl get pvc --all-namespaces --output "jsonpath=$claims" | while IFS='|' read -r namespace name uid node class size hello served; do
    phase=$(kubectl --namespace "$own" get pod "populate-$uid" --ignore-not-found --output 'jsonpath={.status.phase}')
    if [ -n "$served" ]; then
      [ -z "$phase" ] || kubectl --namespace "$own" delete --wait=false pod/populate-"$uid" pvc/prime-"$uid"
    elif [ "$phase" = Succeeded ]; then
      hand_over
    elif [ -z "$phase" ] && [ -n "$node" ]; then
      fill
    fi
  done
done
