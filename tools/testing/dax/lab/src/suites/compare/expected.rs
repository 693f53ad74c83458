// SPDX-License-Identifier: GPL-2.0

//! What is seen of a scene on the stock kernel: it is declared beside the scene.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stock {
    /// All is as expected; why.
    Passes(String),
    /// This row of the table differs, and stock gets this there; where that varies, "".
    Row(String, String),
    /// The kernel dies, and its console has these words.
    Crash(String),
    /// Tasks are stuck for good, and one of them is in this function.
    Hang(String),
    /// The scene gives up with these words.
    Ends(String),
}

impl Stock {
    /// From dax-probe's words: an object with one key.
    pub fn parse(said: &Value) -> Option<Self> {
        let (key, value) = said.as_object()?.iter().next()?;
        let text = |value: &Value| value.as_str().map(String::from);
        Some(match key.as_str() {
            "passes" => Self::Passes(text(value)?),
            "differs" => Self::Row(text(&value[0])?, text(&value[1])?),
            "crashes" => Self::Crash(text(value)?),
            "hangs" => Self::Hang(text(value)?),
            "ends" => Self::Ends(text(value)?),
            _ => return None,
        })
    }
}
