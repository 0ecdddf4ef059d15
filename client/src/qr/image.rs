//! Drawing a QR code and reading one from a picture.

use qrcode::render::{svg, unicode};
use qrcode::{Color, EcLevel, QrCode};
use rxing::BarcodeFormat;
use std::sync::mpsc;
use std::time::Duration;

/// Pixels of a module in a picture.
const MODULE: usize = 6;
/// Modules of white around the code, as ISO/IEC 18004 wants them.
const QUIET: usize = 4;
/// The largest picture that is read, in pixels.
const MAX_PIXELS: usize = 40_000_000;
/// Pixels in which a code is looked for first; the largest that we draw has half as many.
const LOOKED_AT: u32 = 1_000_000;
/// How long a code is looked for: a picture may be drawn so that it takes hours.
const PATIENCE: Duration = Duration::from_secs(10);

fn code(text: &str) -> Result<QrCode, String> {
    QrCode::with_error_correction_level(text, EcLevel::M).map_err(|e| e.to_string())
}

/// A PNG of the text's code: black on white, one byte a pixel.
pub fn png(text: &str) -> Result<Vec<u8>, String> {
    let code = code(text)?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * MODULE;
    let colors = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let (x, y) = ((x / MODULE).checked_sub(QUIET)?, (y / MODULE).checked_sub(QUIET)?);
        (x < modules && y < modules).then(|| colors.get(y * modules + x) == Some(&Color::Dark))
    };
    let pixels: Vec<u8> = (0..side * side).map(|at| if is_dark(at % side, at / side) == Some(true) { 0 } else { 255 }).collect();
    let mut out = Vec::new();
    let side = u32::try_from(side).map_err(|e| e.to_string())?;
    let mut encoder = png::Encoder::new(&mut out, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(&pixels).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(out)
}

/// An SVG of the text's code.
pub fn svg(text: &str) -> Result<String, String> {
    Ok(code(text)?.render::<svg::Color<'_>>().module_dimensions(4, 4).build())
}

/// The text's code in half blocks, for a terminal with a dark background.
pub fn terminal(text: &str) -> Result<String, String> {
    let mut code = code(text)?.render::<unicode::Dense1x2>().build();
    code.push('\n');
    Ok(code)
}

/// Whether bytes begin as a PNG does.
#[must_use]
pub fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

/// Whether bytes begin as an SVG does, or other XML.
#[must_use]
pub fn is_svg(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<")
}

/// The text of the one QR code in a PNG.
pub fn read_png(bytes: &[u8]) -> Result<String, String> {
    read_within(bytes, PATIENCE)
}

fn read_within(bytes: &[u8], patience: Duration) -> Result<String, String> {
    let picture = Picture::of_png(bytes)?;
    let (tell, told) = mpsc::sync_channel(1);
    // A search cannot be broken off: one that takes too long ends with the process.
    let look = move || {
        let smaller = picture.smaller();
        let found = smaller.and_then(Picture::text).or_else(|| picture.text());
        let _ = tell.send(found);
    };
    std::thread::Builder::new().spawn(look).map_err(|e| e.to_string())?;
    match told.recv_timeout(patience) {
        Ok(Some(text)) => Ok(text),
        Err(mpsc::RecvTimeoutError::Timeout) => Err("there is no QR code in the picture that can be read in time".into()),
        Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => Err("there is no QR code that can be read in the picture".into()),
    }
}

/// Brightness, a byte a pixel.
struct Picture {
    width: u32,
    height: u32,
    grey: Vec<u8>,
}

impl Picture {
    fn of_png(bytes: &[u8]) -> Result<Self, String> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
        let size = reader.output_buffer_size().filter(|size| *size <= 4 * MAX_PIXELS).ok_or("the picture is too large")?;
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels).map_err(|e| e.to_string())?;
        pixels.truncate(frame.buffer_size());
        let grey = pixels.chunks_exact(frame.color_type.samples()).map(luma).collect();
        Ok(Self { width: frame.width, height: frame.height, grey })
    }

    /// The same in [`LOOKED_AT`] pixels, each the mean of a square; none if it has no more.
    fn smaller(&self) -> Option<Self> {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let by = (1..).find(|by| pixels / (u64::from(*by) * u64::from(*by)) <= u64::from(LOOKED_AT)).filter(|by| *by > 1)?;
        let (width, height) = (self.width / by, self.height / by);
        if width == 0 || height == 0 {
            return None;
        }
        let mean = |x: u32, y: u32| {
            let row = |y: u32| {
                let from = y as usize * self.width as usize + (x * by) as usize;
                self.grey.get(from..from + by as usize).unwrap_or_default().iter().map(|grey| u32::from(*grey)).sum::<u32>()
            };
            u8::try_from((y * by..(y + 1) * by).map(row).sum::<u32>() / (by * by)).unwrap_or(255)
        };
        let grey = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| mean(x, y)).collect();
        Some(Self { width, height, grey })
    }

    fn text(self) -> Option<String> {
        let found = rxing::helpers::detect_in_luma(self.grey, self.width, self.height, Some(BarcodeFormat::QR_CODE));
        found.ok().map(|result| result.getText().to_owned())
    }
}

/// The brightness of a pixel of one (grey), two (and alpha), three (red, green, blue) or four samples; on
/// white where it is transparent.
fn luma(pixel: &[u8]) -> u8 {
    let (color, alpha) = match pixel {
        [grey] => (u32::from(*grey), 255),
        [grey, alpha] => (u32::from(*grey), u32::from(*alpha)),
        [r, g, b, rest @ ..] => {
            let grey = (299 * u32::from(*r) + 587 * u32::from(*g) + 114 * u32::from(*b)) / 1000;
            (grey, rest.first().map_or(255, |alpha| u32::from(*alpha)))
        }
        [] => (255, 255),
    };
    u8::try_from((color * alpha + 255 * (255 - alpha)) / 255).unwrap_or(255)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_code_is_read_again_by_another_library() {
        let longest = format!("VMQR1:{}", "aZ9_-".repeat(238));
        for text in ["VMQR1:AAAA", &longest] {
            let picture = png(text).unwrap();
            assert!(is_png(&picture));
            assert_eq!(read_png(&picture).unwrap(), text);
        }
        assert!(longest.len() <= super::super::MAX_TEXT && longest.len() > super::super::MAX_TEXT - 10);
        assert!(read_png(&png("x").unwrap()[..50]).is_err());
        assert!(read_png(b"").is_err());
    }

    /// A picture of one byte a pixel, each as `grey` says.
    fn drawn(side: u32, grey: impl Fn(u32, u32) -> u8) -> Vec<u8> {
        let pixels: Vec<u8> = (0..side * side).map(|at| grey(at % side, at / side)).collect();
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        out
    }

    #[test]
    fn a_code_in_a_large_picture_is_read_too() {
        let small = Picture::of_png(&png("VMQR1:AAAA").unwrap()).unwrap();
        for by in [7, 17] {
            let large = drawn(small.width * by, |x, y| small.grey[(y / by * small.width + x / by) as usize]);
            assert!(Picture::of_png(&large).unwrap().smaller().is_some());
            assert_eq!(read_png(&large).unwrap(), "VMQR1:AAAA");
        }
    }

    #[test]
    fn a_picture_that_wants_to_be_searched_for_ever_is_not() {
        // Nothing but the corners of codes.
        let corner = |at: u32| if at > 6 { 8 } else { at.abs_diff(3) };
        let dark = |x: u32, y: u32| matches!(corner(x % 9).max(corner(y % 9)), 0 | 1 | 3);
        let picture = drawn(1440, |x, y| if dark(x / 2, y / 2) { 0 } else { 255 });
        assert!(read_within(&picture, Duration::from_millis(50)).unwrap_err().contains("in time"));
    }

    #[test]
    fn other_forms_are_drawn() {
        let drawn = svg("VMQR1:AAAA").unwrap();
        assert!(drawn.contains("<svg") && drawn.ends_with("</svg>") && is_svg(drawn.as_bytes()) && !is_svg(b"VMQR1:AAAA"));
        let lines = terminal("VMQR1:AAAA").unwrap();
        assert!(lines.lines().count() > 10 && lines.contains('█'));
    }

    #[test]
    fn brightness_is_of_all_kinds_of_pixels() {
        assert_eq!([luma(&[7]), luma(&[0, 0]), luma(&[0, 255]), luma(&[255, 255, 255]), luma(&[0, 0, 0, 0])], [7, 255, 0, 255, 255]);
    }
}
