//! The command line, and the help that teaches it. Parses, decides nothing.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::audit::Since;
use crate::top::{By, Sort};

const ABOUT: &str = "\
Terrace's volumes and nodes: what they are doing, and why.

A PersistentVolumeClaim with a StorageClass of provisioner csi.terrace.storage becomes a StorageVolume on
the disks of one node. This plugin reads the cluster, and claims are changed with kubectl; two commands change
something, and both say so: `orphan adopt` makes a StorageVolume, `orphan delete` destroys bytes that no object
claims.";

const EXAMPLES: &str = "\
Examples:
  kubectl terrace volumes                        every volume: its claim, node, pool, size and use
  kubectl terrace volumes --node node-a -o wide  those of a node, with the reason of each
  kubectl terrace explain default/data           why the volume of claim `data` is as it is
  kubectl terrace explain pvc-0b7d               the same by the name of the StorageVolume
  kubectl terrace nodes                          pools and disks of each node, and what a node lacks
  kubectl terrace top                            latency, operations and bytes of every volume, live
  kubectl terrace latency default/data           how long the operations of claim `data` took, as bars
  kubectl terrace orphan list                    bytes on nodes that no object claims
  kubectl terrace operations                     what runs and waits on every node, step by step
  kubectl terrace audit --since 7d               what was destroyed, who asked, on which proof
  kubectl terrace volumes -o json                for programs

Exit codes: 0 done, 1 the cluster did not answer as needed, 2 wrong usage, 3 no such volume, claim, node or orphan,
4 refused.";

const EXPLAIN: &str = "\
Examples:
  kubectl terrace explain default/data     the volume of claim `data` in namespace `default`
  kubectl terrace explain data -n default  the same
  kubectl terrace explain pvc-0b7d         by the name of the StorageVolume

What it prints: what was asked for, where the volume lies, how full it is, what goes on now, each condition
with its message and what it means, which pools were looked at if it lies nowhere yet, and what the operator
would do next: the plan is made here, from the cluster as it is, by the operator's own code.";

const TOP: &str = "\
Examples:
  kubectl terrace top                       every volume that a running Pod uses, the slowest first, until Ctrl-C
  kubectl terrace top --by pod --sort ops   the same by Pod, the busiest first
  kubectl terrace top -n shop --once        claims of namespace `shop`, once
  kubectl terrace top --once -o json        for programs

What it shows: the last 5 s of each volume, of whatever CSI driver, measured in the kernel of its node. P50 and P99 are of
the operation that is worst, which WORST names; operations and bytes a second are of all together. A volume on which
nothing is done is Idle. It asks the agent of every node, which takes pods/portforward: ClusterRole terrace-latency.";

const LATENCY: &str = "\
Examples:
  kubectl terrace latency default/data     the volume of claim `data` in namespace `default`, of whatever CSI driver
  kubectl terrace latency data -n default  the same
  kubectl terrace latency pvc-0b7d         by the name of the PersistentVolume or StorageVolume

What it shows: every operation since the probe first saw the volume on its node, by how long it took. A quantile is the
middle of the bucket that reaches it: at most 6.25 % away. Of a volume that several nodes use, each node's own.";

const ORPHAN: &str = "\
Examples:
  kubectl terrace orphan list                                     what there is, and why nothing claims it
  kubectl terrace orphan list -o wide                             with what it holds and what can be done
  kubectl terrace orphan adopt --uuid UUID --claim shop/data      take a volume's bytes into service for a claim
  kubectl terrace orphan adopt --uuid UUID --claim shop/data --dry-run  only print the StorageVolume
  kubectl terrace orphan delete --uuid UUID                       destroy the bytes, once you said yes

An orphan is a host object of this cluster that no StorageVolume or StorageSnapshot claims. Nothing in use is one, and
its node looks again, past every cache, before it deletes anything.
Who may: adopt makes StorageVolumes, delete needs pods/portforward; ClusterRole terrace-orphans has both.";

const OPERATIONS: &str = "\
Examples:
  kubectl terrace operations                    what runs, and what waits and for whom, on every node
  kubectl terrace operations --node n1 --watch  of one node, anew every 2 s until Ctrl-C
  kubectl terrace operations -o wide            with priority, tries and locks

What it shows: of one that runs, the step it is at; of one that waits, who has what it needs. A node runs at most
node.maxOperations at once. It asks the agent of every node, which takes pods/portforward: ClusterRole terrace-latency.";

const AUDIT: &str = "\
Examples:
  kubectl terrace audit                       every destructive act of every node, the newest 2000 lines of each
  kubectl terrace audit --volume shop/data    of the volume of that claim; or by StorageVolume, or by UUID
  kubectl terrace audit --since 7d --node n1  of the last seven days of one node; also 2026-01-31T08:00:00Z
  kubectl terrace audit -o wide               with operation and proof

Each node writes what it formats, wipes, erases, removes or repairs before it does so and after, into audit.jsonl in its state
folder, and keeps 36 MiB of it. It asks the agent of every node, which takes pods/portforward: ClusterRole terrace-latency.";

/// `kubectl terrace`.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl terrace", bin_name = "kubectl terrace", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Args {
    /// What to show.
    #[command(subcommand)]
    pub command: Command,
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// Which cluster; as in kubectl.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// Path of the kubeconfig; default: $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig; default: the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of a claim that is named without one; default: that of the context.
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// What to show.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Volumes as a table.
    #[command(visible_alias = "volume")]
    Volumes {
        /// Only volumes on this node.
        #[arg(long)]
        node: Option<String>,
        /// Only volumes on this pool.
        #[arg(long)]
        pool: Option<String>,
        /// wide: more columns; json: for programs.
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// One volume in prose: where it lies, why it is as it is, what comes next.
    #[command(after_help = EXPLAIN)]
    Explain {
        /// Name of a StorageVolume, or of a claim as NAMESPACE/NAME.
        name: String,
    },
    /// Latency, operations and bytes of every volume in use, live.
    #[command(after_help = TOP)]
    Top(Top),
    /// How long the operations of one volume took, as a histogram.
    #[command(after_help = LATENCY)]
    Latency {
        /// Name of a PersistentVolume or StorageVolume, or of a claim as NAMESPACE/NAME.
        name: String,
        /// json: for programs.
        #[arg(long, short, value_enum)]
        output: Option<Json>,
    },
    /// Bytes on nodes that no object claims: list them, take one into service, delete one.
    #[command(visible_alias = "orphans", after_help = ORPHAN)]
    Orphan {
        /// What to do.
        #[command(subcommand)]
        command: OrphanCommand,
    },
    /// What runs and what waits on every node.
    #[command(visible_alias = "ops", after_help = OPERATIONS)]
    Operations(Operations),
    /// What was destroyed, who asked, and on which proof.
    #[command(after_help = AUDIT)]
    Audit(Audit),
    /// Nodes: their pools, disks, and what they lack.
    #[command(visible_alias = "node")]
    Nodes {
        /// Only this node.
        name: Option<String>,
        /// wide: every disk and facility; json: for programs.
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
}

/// `top`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Top {
    /// What a line is about.
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// What the lines are sorted by: the largest first, names in alphabetical order.
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only this node.
    #[arg(long)]
    pub node: Option<String>,
    /// Seconds from one table to the next; the figures change every 5 s.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// One table, and end.
    #[arg(long)]
    pub once: bool,
    /// json: for programs, an object a line where it is not --once.
    #[arg(long, short, value_enum)]
    pub output: Option<Json>,
}

/// `operations`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Operations {
    /// Only this node.
    #[arg(long)]
    pub node: Option<String>,
    /// Anew every 2 s, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
    /// wide: more columns; json: for programs, an object a line.
    #[arg(long, short, value_enum)]
    pub output: Option<Output>,
}

/// `audit`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Audit {
    /// Only this node.
    #[arg(long)]
    pub node: Option<String>,
    /// Only this volume: a UUID, the name of a StorageVolume, or of a claim as NAMESPACE/NAME.
    #[arg(long, value_name = "NAME")]
    pub volume: Option<String>,
    /// Only from then on: a time, or how long ago, such as 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// wide: more columns; json: for programs.
    #[arg(long, short, value_enum)]
    pub output: Option<Output>,
}

/// For programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Json {
    /// As the nodes tell it.
    Json,
}

/// What to do about orphans.
#[derive(Clone, Debug, Subcommand)]
pub enum OrphanCommand {
    /// Every orphan of every node.
    List {
        /// wide: more columns; json: for programs.
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// Take a volume's bytes into service: makes a StorageVolume of origin Direct that adopts them.
    Adopt(Adopt),
    /// Destroy an orphan's bytes, for good.
    Delete(Delete),
}

/// `orphan adopt`.
#[derive(Clone, Debug, clap::Args)]
pub struct Adopt {
    /// UUID of the orphan, as `orphan list` shows it.
    #[arg(long)]
    pub uuid: String,
    /// The claim to make for it, as NAMESPACE/NAME; one that is there must be unbound and of class terrace-direct.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub claim: String,
    /// Name of the StorageVolume: that under which the bytes were made, which is the default.
    #[arg(long, value_name = "NAME")]
    pub volume: Option<String>,
    /// Print the StorageVolume instead of making it.
    #[arg(long)]
    pub dry_run: bool,
}

/// `orphan delete`.
#[derive(Clone, Debug, clap::Args)]
pub struct Delete {
    /// UUID of the orphan, as `orphan list` shows it.
    #[arg(long)]
    pub uuid: String,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// More columns.
    Wide,
    /// The objects themselves, as a List.
    Json,
}

#[cfg(test)]
mod tests {
    use super::{Args, By, Command, Output, Parser};
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_the_cluster_may_stand_anywhere() {
        let args =
            Args::try_parse_from(["x", "explain", "data", "-n", "apps", "--context", "c"]).unwrap();
        assert_eq!(args.connection.namespace.as_deref(), Some("apps"));
        assert_eq!(args.connection.context.as_deref(), Some("c"));
    }

    #[test]
    fn the_output_is_one_of_two() {
        let args = Args::try_parse_from(["x", "volumes", "-o", "wide"]).unwrap();
        assert!(matches!(args.command, Command::Volumes { output: Some(Output::Wide), .. }));
        assert!(Args::try_parse_from(["x", "volumes", "-o", "yaml"]).is_err());
    }

    #[test]
    fn a_table_comes_every_five_seconds_unless_another_time_is_named() {
        let top = |words: &[&str]| match Args::try_parse_from([&["x", "top"], words].concat()) {
            Ok(Args { command: Command::Top(top), connection: _ }) => Some(top),
            Ok(_) | Err(_) => None,
        };
        let plain = top(&[]).unwrap();
        assert_eq!((plain.interval, plain.once, plain.by), (5, false, By::Volume));
        assert_eq!(top(&["--by", "pod", "--interval", "1"]).unwrap().by, By::Pod);
        assert!(top(&["--interval", "0"]).is_none());
        assert!(top(&["--sort", "colour"]).is_none());
    }

    #[test]
    fn the_help_of_every_command_ends_with_examples_of_it() {
        let help = Args::command().render_help().to_string();
        for command in
            ["volumes", "explain", "nodes", "top", "latency", "orphan list", "operations", "audit"]
        {
            assert!(help.contains(&format!("kubectl terrace {command}")), "{command}");
        }
    }
}
