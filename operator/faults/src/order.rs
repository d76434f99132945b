//! What a harness may order, and the words and files in which it does. Values only.
//!
//! In the folder `faults/` beside a process's CSI socket, which the process makes:
//!
//! | file | by | says |
//! |---|---|---|
//! | `record` | harness | while it is there, points are written down |
//! | `<process>.passed` | process | a line for each point it passed |
//! | `<process>.armed` | harness | [`Order`]s, one a line: whichever is due first is obeyed, the others are spent with it |
//! | `<process>.due` | process | the order that it is about to obey |
//! | `<process>.hit` | process | what was armed, renamed before anything happens; removing it ends a hold |
//! | `<process>.refused` | process | what was armed and is no order |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The folder, beside the CSI socket.
pub const DIRECTORY: &str = "faults";

/// How long a hang lasts, and a hold at most.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Who obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// terrace-node.
    Node,
    /// terrace-operator.
    Operator,
}

impl Process {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Node, Self::Operator];

    /// The word for it in file names, and the first part of the names of its points.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
        }
    }
}

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The process dies at once, by SIGKILL or as by it.
    Kill,
    /// What the point names fails with an error that may pass.
    Error,
    /// It hangs for [`PATIENCE`], then fails.
    Hang,
    /// It waits until `.hit` is removed, at most for [`PATIENCE`], and goes on.
    Hold,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Error, Self::Hang, Self::Hold];

    /// The word for it in an order.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Hold => "hold",
        }
    }
}

/// One line: `<mode> <nth> <name>`. Passes are counted since it was armed; a process that starts anew counts from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What happens.
    pub mode: Mode,
    /// At which pass, from 1.
    pub nth: u32,
    /// The name of the point.
    pub name: String,
}

/// Why a line is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too few or too many words.
    #[error("an order is `<mode> <nth> <name>`, not {0:?}")]
    Words(String),
    /// A mode that there is not.
    #[error("no mode {0:?}: kill, error, hang or hold")]
    Mode(String),
    /// Not a count from 1.
    #[error("no count of passes: {0:?}")]
    Nth(String),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        let known = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        known.ok_or_else(|| OrderError::Mode(text.to_owned()))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, nth, name } = self;
        write!(f, "{mode} {nth} {name}")
    }
}

impl FromStr for Order {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [mode, nth, name] = words[..] else {
            return Err(OrderError::Words(text.trim().to_owned()));
        };
        let count = nth.parse().ok().filter(|nth| *nth > 0);
        let nth = count.ok_or_else(|| OrderError::Nth(nth.to_owned()))?;
        Ok(Self { mode: mode.parse()?, nth, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Order, OrderError};

    #[test]
    fn an_order_is_read_as_it_is_written() {
        for mode in Mode::ALL {
            let order = Order { mode, nth: 3, name: "node/reply/stage".to_owned() };
            assert_eq!(format!("{order}\n").parse(), Ok(order));
        }
    }

    #[test]
    fn what_is_no_order_says_why() {
        let why = |text: &str| text.parse::<Order>().expect_err(text);
        assert_eq!(why("kill 1"), OrderError::Words("kill 1".into()));
        assert_eq!(why("kill 1 a b"), OrderError::Words("kill 1 a b".into()));
        assert_eq!(why("maim 1 a"), OrderError::Mode("maim".into()));
        for nth in ["0", "-1", "x"] {
            assert_eq!(why(&format!("kill {nth} a")), OrderError::Nth(nth.into()));
        }
    }
}
