//! Container images as files: tar layers and the OCI archive `ctr images import` reads. No engine, no registry, no clock:
//! the same input gives the same bytes, so digests tell whether anything changed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// One uncompressed layer on disk.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    path: PathBuf,
    digest: String,
}

/// What a layer is made of.
pub(crate) enum Item<'a> {
    /// A folder with its mode.
    Dir(&'a str, u32),
    /// A file from this machine, made executable.
    Program(&'a str, &'a Path),
    /// A file with this text.
    Text(&'a str, &'a str),
    /// A symbolic link and what it points to.
    Link(String, &'a str),
}

/// What the image runs when the Pod does not say.
pub(crate) struct Start<'a> {
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) cmd: &'a [&'a str],
    pub(crate) path: &'a str,
}

impl Layer {
    /// Takes a tar that is there; its digest is kept beside it.
    pub(crate) fn of_file(path: PathBuf) -> Result<Self> {
        let note = path.with_extension("sha256");
        let digest = match fs::read_to_string(&note) {
            Ok(digest) => digest,
            Err(_) => {
                let digest = file_digest(&path)?;
                fs::write(&note, &digest)?;
                digest
            }
        };
        Ok(Self { path, digest })
    }

    /// Writes a layer of these items.
    pub(crate) fn write(path: PathBuf, items: &[Item<'_>]) -> Result<Self> {
        let mut tar = Builder::new(File::create(&path)?);
        for item in items {
            append(&mut tar, item)?;
        }
        tar.into_inner()?.sync_data()?;
        let digest = file_digest(&path)?;
        Ok(Self { path, digest })
    }
}

/// Copies a tar without what `keep` turns down.
pub(crate) fn filter_tar(
    from: &Path,
    to: &Path,
    keep: impl Fn(&str) -> bool,
    extra: &[Item<'_>],
) -> Result<()> {
    let mut source = tar::Archive::new(File::open(from)?);
    let mut tar = Builder::new(File::create(to)?);
    for entry in source.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let name = path.to_string_lossy().trim_start_matches("./").to_owned();
        if name.is_empty() || !keep(&name) {
            continue;
        }
        let mut header = entry.header().clone();
        header.set_mtime(0);
        match entry.link_name()?.map(|link| link.into_owned()) {
            Some(link) => tar.append_link(&mut header, &name, link)?,
            None => tar.append_data(&mut header, &name, &mut entry)?,
        }
    }
    for item in extra {
        append(&mut tar, item)?;
    }
    tar.into_inner()?.sync_data()?;
    Ok(())
}

/// Writes the archive of one image; gives the digest containerd will know it by.
pub(crate) fn write_archive(
    path: &Path,
    reference: &str,
    layers: &[Layer],
    start: &Start<'_>,
) -> Result<String> {
    let Start { entrypoint, cmd, path: search } = start;
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": entrypoint, "Cmd": cmd, "Env": [format!("PATH={search}")], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))?;
    let mut described = Vec::new();
    for layer in layers {
        let size = fs::metadata(&layer.path)?.len();
        described.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": size}));
    }
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": described,
    }))?;
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
        }],
    }))?;
    let partial = path.with_extension("partial");
    let mut tar = Builder::new(File::create(&partial)?);
    append_bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append_bytes(&mut tar, &blob(&digest(&config)), &config)?;
    append_bytes(&mut tar, &blob(&digest(&manifest)), &manifest)?;
    for layer in layers {
        let mut file =
            File::open(&layer.path).with_context(|| format!("open {}", layer.path.display()))?;
        let mut header = header(EntryType::Regular, 0o644, file.metadata()?.len());
        tar.append_data(&mut header, blob(&layer.digest), &mut file)?;
    }
    append_bytes(&mut tar, "index.json", &index)?;
    tar.into_inner()?.sync_data()?;
    fs::rename(&partial, path)?;
    Ok(digest(&manifest))
}

fn append(tar: &mut Builder<File>, item: &Item<'_>) -> Result<()> {
    match item {
        Item::Dir(name, mode) => {
            tar.append_data(&mut header(EntryType::Directory, *mode, 0), name, io::empty())?
        }
        Item::Program(name, from) => {
            let file = File::open(from).with_context(|| format!("open {}", from.display()))?;
            let mut header = header(EntryType::Regular, 0o755, file.metadata()?.len());
            tar.append_data(&mut header, name, file)?;
        }
        Item::Text(name, text) => append_bytes(tar, name, text.as_bytes())?,
        Item::Link(name, target) => {
            tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), name, target)?
        }
    }
    Ok(())
}

fn append_bytes(tar: &mut Builder<File>, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(tar.append_data(&mut header(EntryType::Regular, 0o644, bytes.len() as u64), name, bytes)?)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn file_digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(format!("sha256:{:x}", sha.finalize()));
        }
        sha.write_all(&buffer[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn entries(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(File::open(archive).unwrap());
        let read = |entry: io::Result<tar::Entry<'_, File>>| {
            let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        tar.entries().unwrap().map(read).collect()
    }

    fn build(dir: &Path) -> (PathBuf, String) {
        fs::create_dir_all(dir).unwrap();
        let items =
            [Item::Dir("bin", 0o755), Item::Text("bin/a", "one"), Item::Link("bin/b".into(), "a")];
        let layer = Layer::write(dir.join("layer.tar"), &items).unwrap();
        let start = Start { entrypoint: &["/bin/a"], cmd: &[], path: "/bin" };
        let digest =
            write_archive(&dir.join("image.tar"), "localhost/a:1", &[layer], &start).unwrap();
        (dir.join("image.tar"), digest)
    }

    #[test]
    fn every_blob_bears_its_hash_and_the_index_leads_to_the_layer() {
        let dir = std::env::temp_dir().join(format!("oci-test-{}", std::process::id()));
        let (archive, digest_of_manifest) = build(&dir);
        let files = entries(&archive);
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
            assert_eq!(*name, blob(&digest(bytes)));
        }
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], digest_of_manifest.as_str());
        let manifest: serde_json::Value =
            serde_json::from_slice(&files[&blob(&digest_of_manifest)]).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        assert_eq!(manifest["layers"][0]["size"], files[&blob(layer)].len());
        let config: serde_json::Value =
            serde_json::from_slice(&files[&blob(manifest["config"]["digest"].as_str().unwrap())])
                .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], layer);
        let again = build(&dir.join("again")).1;
        assert_eq!(again, digest_of_manifest, "the same input gives the same image");
        fs::remove_dir_all(&dir).unwrap();
    }
}
