//! What others have published of themselves, or users of theirs have measured: the figures that ours stand beside.
//! Theirs were taken on other machines, with other volumes; the source says which. Nothing here was measured by us.

/// A figure of a peer.
pub(crate) struct Peer {
    pub(crate) what: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) source: &'static str,
}

/// Memory and idle work.
pub(crate) const FOOTPRINT: [Peer; 5] = [
    Peer {
        what: "sidecars on every node, idle: provisioner, resizer, attacher",
        figure: "153, 136 and 70 MiB",
        source: "azuredisk-csi-driver#129",
    },
    Peer {
        what: "csi-resizer on every node",
        figure: "595 MiB",
        source: "Azure/local-csi-driver#208",
    },
    Peer {
        what: "Longhorn, all processes, for one volume of 1 G with 3 replicas",
        figure: "230 MB",
        source: "longhorn#12936",
    },
    Peer {
        what: "TopoLVM, idle at about 100 volumes",
        figure: "about 40 lvm commands a minute",
        source: "topolvm#1221",
    },
    Peer {
        what: "Longhorn, 50 idle claims",
        figure: "2 to 4 cores",
        source: "longhorn#6866, #4303",
    },
];

/// Claims at once.
pub(crate) const BURST: [Peer; 2] = [
    Peer {
        what: "OpenEBS local hostpath, 200 claims",
        figure: "average 85.8 s, maximum 157 s",
        source: "openebs#4050",
    },
    Peer {
        what: "OpenEBS local hostpath, 500 claims",
        figure: "average 217.9 s, maximum 396 s",
        source: "openebs#4050",
    },
];

/// Many volumes.
pub(crate) const SCALE: [Peer; 1] = [Peer {
    what: "external-provisioner, memory at 5,000, 10,000 and 20,000 volumes",
    figure: "200, 400 and 800 MiB",
    source: "external-provisioner#587",
}];

/// A table of them.
pub(crate) fn table(peers: &[Peer]) -> String {
    let mut text = "\n| theirs, as published | figure | source |\n|---|---|---|\n".to_owned();
    for Peer { what, figure, source } in peers {
        text.push_str(&format!("| {what} | {figure} | {source} |\n"));
    }
    text
}
