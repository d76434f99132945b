//! The images that the suite's Pods ask for by name, made here: nothing can be pulled. The names are the suite's own.

use std::path::Path;

use anyhow::Result;

use crate::cluster;
use crate::holder::Holder;
use crate::image::{Archive, ensure, ensure_base};
use crate::oci::{Item, Start};
use crate::paths::Paths;
use crate::run::{Progress, command, output};
use crate::tools::Tools;

const AGNHOST: &str = "localhost/agnhost:1";
const GLIBC: &str = "localhost/glibc:1";
const POPULATOR: &str = "localhost/hello-populator:1";
/// Imported with the rig.
const BUSYBOX: &str = "localhost/busybox:1";

/// Which of ours stands for an image of the suite. Storage specs use no other; of nginx they want a shell.
fn stand_in(reference: &str) -> Option<&'static str> {
    let name = reference.rsplit('/').next()?.split(':').next()?;
    match name {
        "agnhost" => Some(AGNHOST),
        "busybox" | "nginx" => Some(BUSYBOX),
        "glibc-dns-testing" => Some(GLIBC),
        "hello-populator" => Some(POPULATOR),
        _ => None,
    }
}

/// Builds them, imports them and gives them the suite's names.
pub(crate) fn provide(
    paths: &Paths,
    tools: &Tools,
    holder: &Holder,
    progress: &Progress,
) -> Result<()> {
    cluster::import(tools, holder, progress, &build(paths, tools, progress)?)?;
    let listed = output(&mut command(tools.path("e2e.test")?, ["--list-images"]))?;
    for (reference, ours) in listed.lines().filter_map(|name| Some((name, stand_in(name)?))) {
        let tag = ["--namespace", "k8s.io", "images", "tag", "--force", ours, reference];
        output(holder.enter().arg(tools.path("ctr")?).args(tag))?;
    }
    Ok(())
}

/// Builds those that are missing.
pub(crate) fn build(paths: &Paths, tools: &Tools, progress: &Progress) -> Result<Vec<Archive>> {
    let busybox = Path::new("/bin/busybox");
    let (agnhost, kubectl) = (tools.path("agnhost")?, tools.path("kubectl")?);
    let script = paths.repo.join("e2e/conformance/hello-populator.sh");
    let applets = output(&mut command(busybox, ["--list"]))?;
    let links = applets.lines().filter(|applet| *applet != "busybox");
    let mut items = vec![
        Item::Dir("bin", 0o755),
        Item::Dir("mnt", 0o755),
        Item::Dir("tmp", 0o1777),
        Item::Dir("etc", 0o755),
        Item::Text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        Item::Program("bin/busybox", busybox),
    ];
    items.extend(links.map(|applet| Item::Link(format!("bin/{applet}"), "/bin/busybox")));
    items.push(Item::Program("agnhost", &agnhost));
    let start = Start { entrypoint: &["/agnhost"], cmd: &["pause"], path: "/bin" };
    let first = ensure(paths, progress, AGNHOST, None, &items, &start)?;
    items.pop();
    items.push(Item::Program("bin/kubectl", &kubectl));
    items.push(Item::Program("populator", &script));
    let start = Start { entrypoint: &["/populator"], cmd: &[], path: "/bin" };
    let second = ensure(paths, progress, POPULATOR, None, &items, &start)?;
    // Coreutils' dd writes past the page cache, which some specs want; grep is all else they call for.
    let base = Some(ensure_base(paths, progress)?);
    let shell = Start { entrypoint: &[], cmd: &["/bin/sh"], path: "/usr/sbin:/usr/bin:/sbin:/bin" };
    let more = [
        Item::Program("usr/bin/busybox", busybox),
        Item::Link("usr/bin/grep".into(), "/usr/bin/busybox"),
    ];
    Ok(vec![first, second, ensure(paths, progress, GLIBC, base, &more, &shell)?])
}

#[cfg(test)]
mod tests {
    use super::{AGNHOST, BUSYBOX, stand_in};

    #[test]
    fn an_image_is_known_by_its_last_name_alone() {
        assert_eq!(stand_in("registry.example/e2e/agnhost:2.63.0"), Some(AGNHOST));
        assert_eq!(stand_in("registry.example/e2e/nginx:1.27-0"), Some(BUSYBOX));
        assert_eq!(stand_in("registry.example/e2e/volume/nfs:1.6.0"), None);
    }
}
