//! A node for the probe: a fake kubelet's folder with a volume of an image behind a loop device, a bpffs of its own, and a csi-node
//! that says whose the volume is. All of it is gone at the end, also when the test fails.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use terrace_probe_abi::wire::{Names, PodName, ToNode, ToProbe, VolumeName, from_line, to_line};

const POD: &str = "57ae704b-a842-42dd-b456-7df685c39008";

pub(crate) struct Node {
    folder: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("terrace-probe-").tempdir().unwrap();
        let mut node = Self { folder, mounted: Vec::new() };
        let (bpf, volume) = (node.path("bpf"), node.volume());
        fs::create_dir_all(&bpf).unwrap();
        fs::create_dir_all(&volume).unwrap();
        let image = node.path("image");
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop", image.to_str().unwrap(), volume.to_str().unwrap()]);
        node.mounted.push(volume);
        run("mount", &["-t", "bpf", "bpf", bpf.to_str().unwrap()]);
        node.mounted.push(bpf);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the kubelet would have mounted the volume.
    pub(crate) fn volume(&self) -> PathBuf {
        self.path("kubelet/pods").join(POD).join("volumes/kubernetes.io~csi/pv-1/mount")
    }

    /// A csi-node that says whose the volume is to whoever asks, for as long as the test runs. Returns what it is told.
    pub(crate) fn serve_names(&self) -> Receiver<ToNode> {
        let (told, hears) = channel();
        let listener = UnixListener::bind(self.path("probe.sock")).unwrap();
        let volume = VolumeName {
            pv_name: "pv-1".into(),
            pod_uids: vec![POD.into()],
            namespace: "bank".into(),
            claim: "data".into(),
            target_p99_ns: Some(1_000),
            ..VolumeName::default()
        };
        let pod = PodName { uid: POD.into(), namespace: "bank".into(), name: "ledger-0".into() };
        let names = Names { pods: vec![pod], volumes: vec![volume], ..Names::default() };
        let line = to_line(&ToProbe::Names(names)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (line, told) = (line.clone(), told.clone());
                std::thread::spawn(move || {
                    (&stream).write_all(&line)?;
                    for said in BufReader::new(stream).lines() {
                        let _ = told.send(from_line(said?.as_bytes()).unwrap());
                    }
                    Ok::<(), std::io::Error>(())
                });
            }
        });
        hears
    }

    pub(crate) fn start(&self, more: &[&str]) -> Probe {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let folder = |name: &str| self.path(name).display().to_string();
        let events = File::create(self.path("events")).unwrap();
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_terrace-probe"))
            .args(["--node-name", "here", "--proc", "/proc", "--listen", &address])
            .args(["--kubelet-dir", &folder("kubelet"), "--pins", &folder("bpf/probe")])
            .args(["--probe-socket", &folder("probe.sock")])
            .args(more)
            .stdout(events)
            .stderr(log)
            .spawn()
            .unwrap();
        Probe { child, address, log: self.path("log") }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for mounted in self.mounted.drain(..).rev() {
            let _ = Command::new("umount").arg(&mounted).stderr(Stdio::null()).status();
        }
    }
}

/// A running probe.
pub(crate) struct Probe {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Probe {
    /// A page, or nothing while it is not served.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// A row's value; the row as it stands on the page.
    pub(crate) fn value(&self, row: &str) -> Option<f64> {
        let page = self.page("/metrics")?;
        page.lines().find_map(|line| line.strip_prefix(row)?.trim().parse().ok())
    }

    /// Waits until a row has a value.
    pub(crate) fn wait_for(&self, row: &str, wanted: f64) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.value(row);
            if value == Some(wanted) {
                return;
            }
            if Instant::now() > until {
                let page = self.page("/metrics").unwrap_or_default();
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{row} is {value:?}, not {wanted}\n{page}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until it measures.
    pub(crate) fn wait(&self) {
        self.wait_for("terrace_probe_connected ", 1.0);
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn end(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }

    /// Resident memory: all of it, and what of that is a view of the kernel's maps.
    pub(crate) fn resident_kib(&self) -> (u64, u64) {
        let areas = fs::read_to_string(format!("/proc/{}/smaps", self.child.id())).unwrap();
        let (mut all, mut maps, mut is_map) = (0, 0, false);
        for line in areas.lines() {
            if let Some(size) = line.strip_prefix("Rss:") {
                let size = size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                all += size;
                maps += if is_map { size } else { 0 };
            } else if line.contains('-') {
                is_map = line.ends_with("bpf-map");
            }
        }
        (all, maps)
    }

    /// What the kernel says of the process.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// So many bytes, on the disk and not only in memory.
pub(crate) fn write_and_sync(folder: &Path, writes: usize, syncs: usize) {
    let mut file = File::options().create(true).append(true).open(folder.join("file")).unwrap();
    (0..writes).for_each(|_| file.write_all(&[7; 4096]).unwrap());
    (0..syncs).for_each(|_| file.sync_all().unwrap());
}
