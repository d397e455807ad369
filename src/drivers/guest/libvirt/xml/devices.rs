//! The simple devices, of which a machine has one or none: TPM, agent channel, screen, graphics card, serial port,
//! random numbers, watchdog.

use super::{Element, from_word, word};
use crate::base::secret::{ExposeSecret as _, SecretString};
use crate::kinds::vm::{
    Display, DisplayType, Rng, Tpm, TpmVersion, Video, VideoModel, VmSpec, Watchdog, WatchdogAction, WatchdogModel,
};

const AGENT: &str = "org.qemu.guest_agent.0";
const WATCHDOG_ALIAS: &str = "ua-watchdog";

/// Makes the trusted platform module as the spec says.
pub fn apply_tpm(domain: &mut Element<'_>, tpm: Option<&Tpm>) {
    let element = tpm.map(|tpm| {
        // The newer interface exists for the newer standard only.
        let model = if tpm.version() == TpmVersion::V20 { "tpm-crb" } else { "tpm-tis" };
        let backend = Element::new("backend").with("type", "emulator").with("version", word(tpm.version()));
        Element::new("tpm").with("model", model).child(backend)
    });
    domain.entry("devices").replace_all("tpm", element);
}

fn read_tpm(devices: &Element<'_>) -> Option<Tpm> {
    let tpm = devices.first("tpm")?;
    let version = tpm.attribute(&["backend"], "version").and_then(from_word);
    let fallback = if tpm.get("model") == Some("tpm-crb") { TpmVersion::V20 } else { TpmVersion::V12 };
    Some(Tpm { version: Some(version.unwrap_or(fallback)) })
}

/// Makes the channel to the guest agent as the spec says.
pub fn apply_agent(domain: &mut Element<'_>, enabled: bool) {
    let devices = domain.entry("devices");
    if devices.all("channel").any(is_agent) == enabled {
        return;
    }
    devices.remove(|e| e.name == "channel" && is_agent(e));
    if enabled {
        let target = Element::new("target").with("type", "virtio").with("name", AGENT);
        devices.push(Element::new("channel").with("type", "unix").child(target));
    }
}

fn is_agent(channel: &Element<'_>) -> bool {
    channel.attribute(&["target"], "name") == Some(AGENT)
}

/// The element of a screen that is reached over the network.
pub fn graphics(display: &Display, password: Option<&SecretString>) -> Option<Element<'static>> {
    if display.r#type() == DisplayType::None {
        return None;
    }
    let mut element = Element::new("graphics").with("type", word(display.r#type()));
    match display.port {
        Some(port) => {
            element.set("port", port);
            element.set("autoport", "no");
        }
        None => {
            element.set("port", -1);
            element.set("autoport", "yes");
        }
    }
    if let Some(password) = password {
        element.set("passwd", password.expose_secret());
    }
    element.set("listen", display.listen());
    Some(element.child(Element::new("listen").with("type", "address").with("address", display.listen())))
}

/// Makes the screen as the spec says.
pub fn apply_display(domain: &mut Element<'_>, display: &Display, password: Option<&SecretString>) {
    let devices = domain.entry("devices");
    devices.replace_all("graphics", graphics(display, password));
    // A pointer that is where the viewer's is.
    let has_tablet = devices.all("input").any(|i| i.get("type") == Some("tablet"));
    if display.r#type() != DisplayType::None && !has_tablet {
        devices.push(Element::new("input").with("type", "tablet").with("bus", "usb"));
    }
}

fn read_display(devices: &Element<'_>) -> Display {
    let found = devices.all("graphics").find_map(|g| Some((g, from_word::<DisplayType>(g.get("type")?)?)));
    let Some((graphics, kind)) = found else {
        return Display { r#type: Some(DisplayType::None), ..Display::default() };
    };
    let automatic = graphics.get("autoport") == Some("yes");
    let listen = graphics.attribute(&["listen"], "address").or_else(|| graphics.get("listen"));
    Display {
        r#type: Some(kind),
        listen: Some(listen.unwrap_or("127.0.0.1").to_owned()),
        port: if automatic { None } else { graphics.parse("port").filter(|p: &u16| *p > 0) },
        password: None,
    }
}

/// Makes the graphics card as the spec says.
pub fn apply_video(domain: &mut Element<'_>, video: &Video) {
    let model = Element::new("model").with("type", word(video.model()));
    domain.entry("devices").replace_all("video", [Element::new("video").child(model)]);
}

fn read_video(devices: &Element<'_>) -> Video {
    let model = devices.attribute(&["video", "model"], "type").and_then(from_word);
    Video { model: Some(model.unwrap_or(VideoModel::None)) }
}

/// Makes the serial port as the spec says.
pub fn apply_serial(domain: &mut Element<'_>, serial: bool) {
    let devices = domain.entry("devices");
    let has = devices.first("serial").is_some();
    if serial && !has {
        let target = |kind| Element::new("target").with("type", kind).with("port", 0);
        devices.push(Element::new("serial").with("type", "pty").child(target("isa-serial")));
        devices.remove_all("console");
        devices.push(Element::new("console").with("type", "pty").child(target("serial")));
    } else if !serial && has {
        devices.remove_all("serial");
        devices.remove(|e| e.name == "console" && e.attribute(&["target"], "type") == Some("serial"));
    }
}

/// Makes the source of random numbers as the spec says.
pub fn apply_rng(domain: &mut Element<'_>, rng: &Rng) {
    let element = rng.enabled().then(|| {
        let backend = Element::new("backend").with("model", "random").text_inside(rng.source());
        Element::new("rng").with("model", "virtio").child(backend)
    });
    domain.entry("devices").replace_all("rng", element);
}

fn read_rng(devices: &Element<'_>) -> Rng {
    let backend = devices.at(&["rng", "backend"]);
    let file = backend.filter(|b| b.get("model") == Some("random")).map(|b| b.text().trim().to_owned());
    Rng { enabled: Some(backend.is_some()), source: file.filter(|f| !f.is_empty()) }
}

/// Makes the watchdog as the spec says. Ours has a name, since newer libvirt adds one of its own to every `q35`.
pub fn apply_watchdog(domain: &mut Element<'_>, watchdog: Option<&Watchdog>) {
    let devices = domain.entry("devices");
    let element = watchdog.map(|watchdog| {
        let mut element =
            Element::new("watchdog").with("model", word(watchdog.model())).with("action", word(watchdog.action()));
        super::give_alias(&mut element, WATCHDOG_ALIAS.to_owned());
        element
    });
    devices.remove(|e| e.name == "watchdog" && !is_automatic(e));
    if let Some(element) = element {
        if element.get("model") == Some("itco") {
            devices.remove_all("watchdog");
        }
        devices.push(element);
    }
}

fn is_automatic(watchdog: &Element<'_>) -> bool {
    watchdog.get("model") == Some("itco") && watchdog.attribute(&["alias"], "name") != Some(WATCHDOG_ALIAS)
}

fn read_watchdog(devices: &Element<'_>) -> Option<Watchdog> {
    let watchdog = devices.all("watchdog").find(|w| !is_automatic(w))?;
    Some(Watchdog {
        model: Some(watchdog.get("model").and_then(from_word).unwrap_or(WatchdogModel::I6300esb)),
        action: Some(watchdog.get("action").and_then(from_word).unwrap_or(WatchdogAction::Reset)),
    })
}

/// Reads all of these devices into the spec.
pub fn read(domain: &Element<'_>, spec: &mut VmSpec) {
    let Some(devices) = domain.first("devices") else { return };
    spec.tpm = read_tpm(devices);
    spec.agent.get_or_insert_default().enabled = Some(devices.all("channel").any(is_agent));
    spec.display = Some(read_display(devices));
    spec.video = Some(read_video(devices));
    spec.serial = Some(devices.first("serial").is_some());
    spec.rng = Some(read_rng(devices));
    spec.watchdog = read_watchdog(devices);
}
