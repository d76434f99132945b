//! Keys, tokens and kubeconfigs of one rig. They are made anew with each rig and live only as long as it does.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::paths::Paths;
use crate::run::{command, output};

/// The node's address, on a bridge of the rig's network namespace.
pub(crate) const NODE_IP: &str = "10.99.0.1";
/// The address of the Service `kubernetes`; it is on the rig's loopback, so that Pods reach it without kube-proxy.
pub(crate) const SERVICE_IP: &str = "10.96.0.1";
/// The one node.
pub(crate) const NODE_NAME: &str = "node-a";

/// Writes all keys, the token file and three kubeconfigs.
pub(crate) fn write_all(paths: &Paths, port: u16) -> Result<()> {
    let dir = paths.conf();
    fs::create_dir_all(&dir)?;
    if dir.join("done").exists() {
        return Ok(());
    }
    openssl(&dir, "ecparam -name prime256v1 -genkey -noout -out sa.key")?;
    openssl(&dir, "ec -in sa.key -pubout -out sa.pub")?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650";
    openssl(&dir, &format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=terrace-rig-ca"))?;
    let names = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc";
    let api_names = format!("subjectAltName={names},IP:127.0.0.1,IP:{SERVICE_IP},IP:{NODE_IP}");
    signed(&dir, "api", "/CN=kube-apiserver", &api_names)?;
    signed(
        &dir,
        "kubelet",
        &format!("/CN=system:node:{NODE_NAME}"),
        &format!("subjectAltName=DNS:{NODE_NAME},IP:{NODE_IP}"),
    )?;
    signed(
        &dir,
        "api-to-kubelet",
        "/O=system:masters/CN=kube-apiserver",
        "extendedKeyUsage=clientAuth",
    )?;
    let (admin, node) = (random_token()?, random_token()?);
    let tokens = format!(
        "{admin},admin,admin,\"system:masters\"\n{node},system:node:{NODE_NAME},node,\"system:nodes\"\n"
    );
    fs::write(dir.join("tokens.csv"), tokens)?;
    write_kubeconfig(&paths.kubeconfig(), &dir, port, &admin)?;
    write_kubeconfig(&dir.join("admin.kubeconfig"), &dir, 443, &admin)?;
    write_kubeconfig(&dir.join("kubelet.kubeconfig"), &dir, 443, &node)?;
    fs::write(dir.join("done"), "")?;
    Ok(())
}

/// A kubeconfig is YAML, and JSON is YAML.
fn write_kubeconfig(to: &Path, dir: &Path, port: u16, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "terrace-rig",
        "clusters": [{"name": "terrace-rig", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": dir.join("ca.crt")}}],
        "users": [{"name": "terrace-rig", "user": {"token": token}}],
        "contexts": [{"name": "terrace-rig", "context": {"cluster": "terrace-rig", "user": "terrace-rig"}}],
    });
    Ok(fs::write(to, serde_json::to_vec_pretty(&config)?)?)
}

fn signed(dir: &Path, name: &str, subject: &str, extension: &str) -> Result<()> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650";
    let mut words: Vec<&str> = vec!["req", "-x509"];
    words.extend(key.split(' '));
    let (key_file, cert_file) = (format!("{name}.key"), format!("{name}.crt"));
    words.extend(["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", &key_file, "-out", &cert_file]);
    words.extend([
        "-subj",
        subject,
        "-addext",
        extension,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    output(command("openssl", words).current_dir(dir))?;
    Ok(())
}

fn openssl(dir: &Path, words: &str) -> Result<()> {
    output(command("openssl", words.split(' ')).current_dir(dir))?;
    Ok(())
}

fn random_token() -> Result<String> {
    Ok(output(&mut command("openssl", ["rand", "-hex", "16"]))?.trim().to_owned())
}
