// SPDX-License-Identifier: GPL-2.0

//! QEMU's monitor, as seen from inside the guest: dax-lab joins it to a port of the
//! guest (QMP: one JSON object a line).

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use serde_json::{json, Value};

use crate::kernel;
use crate::port::Port;

/// The name that dax-lab gives to the port.
const NAME: &str = "dax-lab.monitor";
/// QEMU answers at once, but an emulated machine may be slow.
fn patience() -> Duration {
    kernel::limit(20)
}

pub struct Monitor {
    port: Port,
    /// Number of the latest command.
    command: u32,
}

impl Monitor {
    /// Opens the port; one process at a time may have it.
    pub fn open() -> Result<Self> {
        let mut monitor = Self {
            port: Port::open(NAME)?,
            command: 0,
        };
        // An error says that an earlier process has done this: the connection
        // outlives them.
        let _ = monitor.execute(json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// Runs a command of the human monitor, which is silent when all is well.
    pub fn human(&mut self, line: &str) -> Result<()> {
        match self.ask(line)?.trim() {
            "" => Ok(()),
            text => bail!("QEMU's monitor on {line:?}: {text}"),
        }
    }

    /// What the human monitor says to a command.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let said = self.execute(json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": line },
        }))?;
        match said {
            Ok(Value::String(text)) => Ok(text),
            Ok(other) => bail!("QEMU's monitor on {line:?}: returned {other}"),
            Err(text) => bail!("QEMU's monitor on {line:?}: {text}"),
        }
    }

    /// Runs a command that returns nothing.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<()> {
        let said = self.execute(json!({ "execute": name, "arguments": arguments }))?;
        match said {
            Ok(_) => Ok(()),
            Err(text) => bail!("QEMU's monitor on {name}: {text}"),
        }
    }

    /// What a command returned, or the error that it was answered with.
    fn execute(&mut self, mut command: Value) -> Result<Result<Value, String>> {
        self.command += 1;
        // Answers that an earlier process has not waited for may still come.
        let id = format!("{}-{}", std::process::id(), self.command);
        command["id"] = id.as_str().into();
        self.port.send(&command.to_string())?;
        let deadline = Instant::now() + patience();
        loop {
            let line = self.port.line(deadline)?;
            if let Some(answer) = answer(&line, &id) {
                return Ok(answer);
            }
        }
    }
}

/// The answer to command `id`, if the line holds it. Other lines are a greeting,
/// events, answers to others, or the rest of a line.
fn answer(line: &str, id: &str) -> Option<Result<Value, String>> {
    let mut object: Value = serde_json::from_str(line).ok()?;
    if object["id"] != id {
        return None;
    }
    if let Some(value) = object.get_mut("return") {
        return Some(Ok(value.take()));
    }
    let text = object["error"]["desc"].as_str();
    Some(Err(text.unwrap_or("neither result nor error").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(
            answer(r#"{"return": "x\r\n", "id": "7-2"}"#, "7-2"),
            Some(Ok("x\r\n".into()))
        );
        assert_eq!(answer(r#"{"return": {}, "id": "6-2"}"#, "7-2"), None);
        assert_eq!(answer(r#"{"QMP": {"capabilities": []}}"#, "7-2"), None);
        assert_eq!(answer(r#"{"event": "STOP"}"#, "7-2"), None);
        assert_eq!(answer("eturn\": {}}", "7-2"), None);
    }

    #[test]
    fn an_error_is_an_answer() {
        let line =
            r#"{"id": "7-2", "error": {"class": "CommandNotFound", "desc": "no such command"}}"#;
        assert_eq!(answer(line, "7-2"), Some(Err("no such command".into())));
        let line = r#"{"id": "7-2"}"#;
        assert!(matches!(answer(line, "7-2"), Some(Err(_))));
    }
}
