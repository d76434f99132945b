//! The probe as it is shipped: a process that is told names over its socket and asked over the socket and its metrics page. This end
//! plays the node agent. A probe that is killed is started again with the same pins.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind};
use terrace_probe_abi::layout::{BUCKETS, OPERATIONS, Operation, Path as Way};
use terrace_probe_abi::wire::{
    Hello, HistogramOf, Lines, Names, ToNode, ToProbe, from_line, to_line,
};

use crate::page::Page;
use crate::probe::{Counting, Look};
use crate::tally::{Tallies, Tally};

/// How long it may take to load, choose its tiers and say hello; emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// What lines of slow operations, which are many, have.
const EVENT: &str = "\"slowOperation\"";
/// Questions at once: what it has no room to answer at once, the probe does not answer.
const AT_ONCE: usize = 16;

/// What the probe said on all its connections.
#[derive(Default)]
struct Heard {
    hello: Option<Hello>,
    /// How many of them.
    hellos: u64,
    histograms: BTreeMap<String, HistogramOf>,
    /// How many were asked for and not answered yet.
    open: usize,
    writer: Option<UnixStream>,
    names: Names,
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    news: Condvar,
}

/// A running probe.
pub(crate) struct Socket {
    program: PathBuf,
    words: Vec<String>,
    log: PathBuf,
    process: Child,
    ear: Arc<Ear>,
    page: SocketAddr,
}

impl Socket {
    /// Starts it and waits for its hello. `more` words come last.
    pub(crate) fn start(
        program: &Path,
        root: &Path,
        kubelet: &Path,
        more: &[String],
    ) -> Result<Self> {
        let socket = root.join("probe.sock");
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let listener = UnixListener::bind(&socket)?;
        let ear = Arc::new(Ear::default());
        let theirs = Arc::clone(&ear);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                theirs.listen(stream);
            }
        });
        let page = free_port()?;
        let mut words = vec![
            format!("--probe-socket={}", socket.display()),
            format!("--kubelet-dir={}", kubelet.display()),
            format!("--listen={page}"),
            "--node-name=oracle".to_owned(),
            "--proc=/proc".to_owned(),
            "--sampling=0".to_owned(),
        ];
        words.extend_from_slice(more);
        let log = root.join("probe.log");
        let process = spawn(program, &words, &log)?;
        let program = program.to_owned();
        let mut socket = Self { program, words, log, process, ear, page };
        socket.greeted(1)?;
        Ok(socket)
    }

    /// Waits for so many hellos in all.
    fn greeted(&mut self, times: u64) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.ear.held();
            if heard.hellos >= times {
                return Ok(());
            }
            let (heard, _) = self
                .ear
                .news
                .wait_timeout(heard, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner);
            drop(heard);
            if let Some(status) = self.process.try_wait()? {
                bail!("the probe ended with {status}: {}", self.last_words());
            }
            if Instant::now() > end {
                bail!("the probe said nothing in {PATIENCE:?}: {}", self.last_words());
            }
        }
    }

    /// Killed and started, without waiting for its hello; how many there were before.
    pub(crate) fn begin_anew(&mut self) -> Result<u64> {
        self.process.kill()?;
        self.process.wait()?;
        let greeted = {
            let mut heard = self.ear.held();
            heard.writer = None;
            heard.hellos
        };
        self.process = spawn(&self.program, &self.words, &self.log)?;
        Ok(greeted)
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains(EVENT)).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The process, for looking at what it costs.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its metrics.
    pub(crate) fn page(&self) -> Result<Page> {
        Page::get(self.page)
    }

    fn histograms(&mut self) -> Result<BTreeMap<String, HistogramOf>> {
        let heard = self.ear.held();
        let all: Vec<String> = heard.names.volumes.iter().map(|one| one.pv_name.clone()).collect();
        drop(heard);
        let mut found = BTreeMap::new();
        for some in all.chunks(AT_ONCE) {
            found.append(&mut self.histograms_of(some)?);
        }
        Ok(found)
    }

    fn histograms_of(&mut self, asked: &[String]) -> Result<BTreeMap<String, HistogramOf>> {
        let mut heard = self.ear.held();
        heard.histograms.clear();
        heard.open = asked.len();
        let mut writer = heard.writer.as_ref().context("no probe is connected")?.try_clone()?;
        drop(heard);
        for pv_name in asked {
            let question = ToProbe::Histogram { pv_name: pv_name.clone() };
            let asked = writer.write_all(&to_line(&question)?);
            asked.with_context(|| format!("ask the probe, which said\n{}", self.last_words()))?;
        }
        let end = Instant::now() + PATIENCE;
        let mut heard = self.ear.held();
        while heard.open > 0 {
            if Instant::now() > end {
                let open = heard.open;
                drop(heard);
                bail!("the probe did not answer for {open} volumes: {}", self.last_words());
            }
            let wait = self.ear.news.wait_timeout(heard, Duration::from_millis(200));
            heard = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(std::mem::take(&mut heard.histograms))
    }
}

impl Counting for Socket {
    fn title(&self) -> String {
        let heard = self.ear.held();
        let Some(hello) = &heard.hello else { return "a probe that said nothing".into() };
        let functions = hello.functions.iter().map(|one| {
            format!(
                "  {} {:?} {}",
                one.function,
                one.tier,
                one.reason.as_deref().unwrap_or_default()
            )
        });
        let functions: Vec<String> = functions.collect();
        format!("terrace-probe {} on {}:\n{}", hello.version, hello.kernel, functions.join("\n"))
    }

    fn tell(&mut self, names: Names) -> Result<()> {
        let mut heard = self.ear.held();
        heard.names = names;
        // A probe that is just being started is told at its hello.
        if let Some(writer) = &mut heard.writer {
            let mut writer = writer.try_clone()?;
            writer.write_all(&to_line(&ToProbe::Names(heard.names.clone()))?).ok();
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Look> {
        let claims: BTreeMap<String, String> = {
            let heard = self.ear.held();
            let pair = |one: &terrace_probe_abi::wire::VolumeName| {
                (one.pv_name.clone(), one.claim.clone())
            };
            heard.names.volumes.iter().map(pair).collect()
        };
        let histograms = self.histograms()?;
        let page = self.page()?;
        let mut tallies = Tallies::new();
        for (name, histogram) in histograms {
            let Some(number) = name.strip_prefix("pv-").and_then(|text| text.parse().ok()) else {
                continue;
            };
            let claim = claims.get(&name).map(String::as_str).unwrap_or_default();
            tallies.insert(number, tallies_of(&histogram, claim, &page));
        }
        Ok(Look { tallies, missed: page.missed() })
    }

    fn unobservable(&self) -> Vec<Way> {
        let heard = self.ear.held();
        let named = heard.hello.iter().flat_map(|hello| hello.unobservable.clone());
        let known = |name: &str| {
            let spelled = |way: &&Way| serde_json::to_value(way).is_ok_and(|value| value == name);
            Way::ALL.iter().find(spelled).copied()
        };
        named.filter_map(|name| known(&name)).collect()
    }

    fn restart(&mut self) -> Result<()> {
        let greeted = self.begin_anew()?;
        self.greeted(greeted + 1)
    }
}

fn tallies_of(histogram: &HistogramOf, claim: &str, page: &Page) -> [Tally; OPERATIONS] {
    Operation::ALL
        .iter()
        .map(|operation| {
            let one = histogram.operations.iter().find(|one| one.operation == *operation);
            let buckets = one.map_or_else(|| vec![0; BUCKETS], |one| one.buckets.clone());
            Tally { bytes: page.bytes(claim, *operation), buckets }
        })
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_default()
}

impl Ear {
    fn held(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, until it ends.
    fn listen(&self, mut stream: UnixStream) {
        let Ok(writer) = stream.try_clone() else { return };
        self.held().writer = Some(writer);
        let (mut lines, mut room) = (Lines::default(), vec![0; 1 << 16]);
        loop {
            match stream.read(&mut room) {
                Ok(0) | Err(_) => return,
                Ok(got) => lines.push(&room[..got]),
            }
            while let Ok(Some(line)) = lines.next_line() {
                match from_line::<ToNode>(line) {
                    Ok(message) => self.hear(message),
                    Err(error) => eprintln!("oracle: the probe said what is none: {error}"),
                }
            }
        }
    }

    fn hear(&self, message: ToNode) {
        let mut heard = self.held();
        match message {
            ToNode::Hello(hello) => {
                heard.hello = Some(hello);
                heard.hellos += 1;
                let names = to_line(&ToProbe::Names(heard.names.clone()));
                if let (Some(writer), Ok(line)) = (&mut heard.writer, names) {
                    // A probe that went meanwhile says hello again.
                    writer.write_all(&line).ok();
                }
            }
            ToNode::HistogramOf(histogram) => {
                heard.open = heard.open.saturating_sub(1);
                heard.histograms.insert(histogram.pv_name.clone(), histogram);
            }
            ToNode::Figures(_) | ToNode::Turned(_) | ToNode::Unknown => {}
        }
        drop(heard);
        self.news.notify_all();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn spawn(program: &Path, words: &[String], log: &Path) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let mut start = Command::new("setpriv");
    start.args(["--pdeathsig", "KILL"]).arg(program).args(words);
    start.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    start.spawn().with_context(|| format!("start {}", program.display()))
}

/// A folder for pins on a bpffs of its own; it goes with the mount namespace.
pub(crate) fn pins(root: &Path) -> Result<PathBuf> {
    let folder = root.join("bpf");
    std::fs::create_dir_all(&folder)?;
    mount("bpf", &folder, "bpf", MountFlags::empty(), None)?;
    Ok(folder.join("pins"))
}

/// What the probe takes for the host's first process shows this process's mounts: they are where nobody else's are.
pub(crate) fn stand_in() -> Result<()> {
    let own = format!("/proc/{}/mountinfo", std::process::id());
    Ok(mount_bind(own, "/proc/1/mountinfo")?)
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// The page behind an address.
pub(crate) fn fetch(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("ask for the metrics page")?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: probe\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").context("the metrics page has no body")?;
    Ok(body.to_owned())
}
