//! Folders, lists and shards of pictures, as they should be and as they are.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use striate_train::augment::Augment;
use striate_train::data::convert::{Conversion, convert};
use striate_train::data::info::Info;
use striate_train::data::pictures::PicturesError;
use striate_train::data::{self, DataError, Dataset, Opening, Samples, Scale, Split};
use striate_train::loader::{Loader, LoaderOptions};

/// A picture that no other number gives.
fn picture(number: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(number * 37 + x * 5) as u8, (y * 7) as u8, (x ^ y ^ number) as u8])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder of `count` pictures of two classes in each of `parts`; PNG, JPEG, WebP and BMP of many sizes.
fn folder(root: &Path, parts: &[&str], count: u32) {
    use ImageFormat::{Bmp, Jpeg, Png, WebP};
    for (part, name) in parts.iter().enumerate() {
        for number in 0..count {
            let (format, ending) =
                [(Png, "png"), (Jpeg, "JPG"), (WebP, "webp"), (Bmp, "bmp")][number as usize % 4];
            let class = ["cat", "dog"][number as usize % 2];
            let number = number + 1000 * part as u32;
            let bytes = encoded(picture(number, 20 + number % 7, 31 - number % 5), format);
            write(root.join(name).join(class).join(format!("{number}.{ending}")), bytes);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

fn both(source: &str) -> Result<[Dataset; 2], DataError> {
    data::open_both(source, &mut Opening::default())
}

fn fails(source: &str) -> String {
    both(source).map(|_| ()).unwrap_err().to_string()
}

/// What the samples of a part are called, without their folders.
fn names(data: &Dataset) -> BTreeSet<String> {
    (0..data.len()).map(|id| data.title(id).rsplit('/').next().unwrap().to_string()).collect()
}

fn left_out(data: &Dataset) -> Vec<String> {
    data.survey().unwrap().left_out.iter().map(|out| format!("{}: {}", out.file, out.problem)).collect()
}

/// All pixels of a part, by their names.
fn pixels(data: &Dataset) -> Vec<(String, Vec<u8>, u32)> {
    let mut scratch = Vec::new();
    let mut all: Vec<_> = (0..data.len())
        .map(|id| {
            let picture = data.picture(id, Scale::Full, &mut scratch).unwrap();
            (data.title(id), picture.pixels.to_vec(), data.label(id))
        })
        .collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    all
}

#[test]
fn a_folder_for_each_class_below_one_for_each_part() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val", "test"], 12);
    write(dir.path().join("train/cat/notes.txt"), "no picture");
    let [train, test] = both(&text(dir.path())).unwrap();
    assert_eq!((train.len(), test.len(), train.channels(), train.size()), (12, 12, 3, None));
    assert_eq!(train.classes(), ["cat", "dog"]);
    assert!((0..12).all(|id| train.title(id).contains(&train.classes()[train.label(id) as usize])));
    assert!(names(&test).contains("1000.png") && !names(&test).contains("2000.png"), "val comes before test");
    let [_, other] = both(&format!("folder:{}?test=test", text(dir.path()))).unwrap();
    assert!(names(&other).contains("2000.png"));
    assert!(
        fails(&format!("{}?test=tset", text(dir.path())))
            .contains("has no folder 'tset' to measure on; it has test, train, val")
    );
    let survey = train.survey().unwrap();
    assert_eq!((survey.ignored, survey.left_out.len(), survey.seen.len()), (1, 0, 24));
    let mut scratch = Vec::new();
    let id = (0..12).find(|id| train.title(*id).ends_with("train/cat/4.png")).unwrap();
    let shown = train.picture(id, Scale::Full, &mut scratch).unwrap();
    assert_eq!((shown.width, shown.height, shown.pixels), (24, 27, &picture(4, 24, 27).into_raw()[..]));
}

#[test]
fn what_is_held_out_depends_on_names_alone() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["."], 200);
    let source = format!("folder:{}?val=0.25", text(dir.path()));
    let [train, test] = both(&source).unwrap();
    assert_eq!(train.len() + test.len(), 200);
    assert!((30..70).contains(&test.len()), "{}", test.len());
    let before = [names(&train), names(&test)];
    for number in 500..510 {
        write(dir.path().join(format!("cat/{number}.png")), encoded(picture(number, 8, 8), ImageFormat::Png));
    }
    let [train, test] = both(&source).unwrap();
    assert!(before[0].is_subset(&names(&train)) && before[1].is_subset(&names(&test)));
    assert_eq!(train.len() + test.len(), 210);
    let [all, _] = both(&text(dir.path())).unwrap();
    assert!(all.survey().unwrap().notes[0].contains("20 % are, by the hash of their names"));
    assert!(
        fails(&format!("{}?val=0.0001", text(dir.path())))
            .contains("no pictures to test on; of 210 none was put there")
    );
}

#[test]
fn what_cannot_be_used_is_found_before_anything_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 8);
    let cat = dir.path().join("train/cat");
    let whole = encoded(picture(1, 40, 40), ImageFormat::Jpeg);
    write(cat.join("cut.jpg"), &whole[..whole.len() / 2]);
    write(cat.join("empty.png"), b"");
    write(cat.join("page.png"), b"<!DOCTYPE html>");
    let mut bomb = encoded(picture(1, 1, 1), ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    write(cat.join("bomb.png"), bomb);
    fs::create_dir(dir.path().join("train/empty class")).unwrap();
    let [train, _] = both(&text(dir.path())).unwrap();
    let left_out = left_out(&train);
    assert_eq!((train.len(), left_out.len()), (8, 4), "{left_out:?}");
    for (file, problem) in
        [("cut.jpg", "cut off"), ("empty.png", "it is empty"), ("page.png", "HTML"), ("bomb.png", "damaged")]
    {
        let fits =
            |line: &&String| line.contains(file) && (line.contains(problem) || line.contains("too large"));
        assert!(left_out.iter().any(|line| fits(&line)), "{file}: {left_out:?}");
    }
    assert_eq!(train.classes(), ["cat", "dog"], "a folder without pictures is no class");
    assert!(train.survey().unwrap().notes[0].contains("empty class holds no pictures"));
    let mut strict = Opening { strict: true, ..Opening::default() };
    let error = data::open_both(&text(dir.path()), &mut strict).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, DataError::Pictures(PicturesError::Strict { all: 20, left_out, .. }) if left_out.len() == 4)
    );
    assert!(error.to_string().contains("4 of 20 pictures cannot be used\n"), "{error}");
    let info = Info::of([&train, &train]);
    assert_eq!((info.left_out.len(), info.train.per_class, info.train.width.min), (4, vec![4, 4], 20));
}

#[cfg(unix)]
#[test]
fn odd_folders_are_survived() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 4);
    let cat = dir.path().join("train/cat");
    symlink(&cat, cat.join("again")).unwrap();
    symlink("nowhere.png", cat.join("dangling.png")).unwrap();
    symlink("itself.png", cat.join("itself.png")).unwrap();
    let deep = cat.join("a/b");
    write(deep.join("deep.png"), encoded(picture(77, 9, 9), ImageFormat::Png));
    write(cat.join("._hidden.png"), b"a resource fork");
    let odd = cat.join(std::ffi::OsStr::from_bytes(b"\xff\xfe.png"));
    write(&odd, encoded(picture(78, 9, 9), ImageFormat::Png));
    let locked = cat.join("locked.png");
    write(&locked, encoded(picture(79, 9, 9), ImageFormat::Png));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Who may read everything reads this as well.
    let readable = fs::read(&locked).is_ok();
    let [train, _] = both(&text(dir.path())).unwrap();
    assert_eq!(train.len(), 4 + 2 + usize::from(readable));
    let left_out = left_out(&train);
    assert_eq!(left_out.len(), 3 + usize::from(!readable), "{left_out:?}");
    for part in ["again: a folder in itself", "dangling.png: cannot read", "itself.png: cannot read"] {
        assert!(left_out.iter().any(|line| line.contains(part)), "{part}: {left_out:?}");
    }
    assert_eq!(train.survey().unwrap().ignored, 1);
    let odd = (0..train.len()).find(|id| train.title(*id).contains('\u{fffd}')).unwrap();
    assert_eq!(train.picture(odd, Scale::Full, &mut Vec::new()).unwrap().width, 9);
}

#[test]
fn what_was_found_out_is_kept_and_found_out_anew_where_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 6);
    let looked = |source: &str| {
        let count = Cell::new(0);
        let progress = Box::new(|_, of| count.set(of));
        let cache_folder = Some(cache.path().join("pictures"));
        let [train, test] =
            data::open_both(source, &mut Opening { progress, cache_folder, ..Opening::default() }).unwrap();
        (count.get(), [train.fingerprint(), test.fingerprint()])
    };
    let source = text(dir.path());
    let (first, prints) = looked(&source);
    assert_eq!(first, 12);
    assert_eq!(looked(&source), (0, prints));
    let index = dir.path().join(".striate-index");
    assert!(index.exists());
    // Half an index is worth its whole lines.
    let whole = fs::read_to_string(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    let (again, same) = looked(&source);
    assert!((1..12).contains(&again) && same == prints, "{again}");
    write(dir.path().join("train/cat/0.png"), encoded(picture(99, 50, 50), ImageFormat::Png));
    let (once, others) = looked(&source);
    // The statistics of what is learned from belong to what is tested as well.
    assert!(once == 1 && others[0] != prints[0] && others[1] != prints[1]);
    // A folder that cannot be written: a folder lies where the index would.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    assert_eq!(looked(&source).0, 12);
    assert_eq!(looked(&source), (0, others));
    assert_eq!(fs::read_dir(cache.path().join("pictures")).unwrap().count(), 1);
}

#[test]
fn grey_is_one_channel_where_all_is_grey() {
    let dir = tempfile::tempdir().unwrap();
    let grey = |number: u32| GrayImage::from_fn(9, 9, |x, y| Luma([(x * 20 + y * number) as u8]));
    for (part, number) in [("train", 1), ("train", 2), ("test", 3), ("test", 4)] {
        let path = dir.path().join(part).join(["even", "odd"][number % 2]).join(format!("{number}.png"));
        let picture = grey(number as u32);
        // Grey may be written with three channels.
        let bytes = match number {
            1 => encoded(DynamicImage::from(picture).into_rgb8(), ImageFormat::Png),
            _ => encoded(picture, ImageFormat::Png),
        };
        write(path, bytes);
    }
    let source = text(dir.path());
    let [train, _] = both(&source).unwrap();
    assert_eq!((train.channels(), train.mean().len()), (1, 1));
    let sum: f64 =
        [1, 2].iter().flat_map(|n| grey(*n).into_raw()).map(|level| f64::from(level) / 255.0).sum();
    assert!((f64::from(train.mean()[0]) - sum / 162.0).abs() < 1e-6, "{:?}", train.mean());
    let [train, test] = both(&format!("{source}?channels=3,norm=imagenet")).unwrap();
    assert_eq!((train.channels(), test.mean()), (3, &[0.485, 0.456, 0.406][..]));
    let shown = pixels(&train);
    assert_eq!(shown[0].1.len(), 243);
    write(dir.path().join("test/odd/5.png"), encoded(picture(5, 6, 6), ImageFormat::Png));
    assert_eq!(both(&source).unwrap()[0].channels(), 3);
    let [train, _] = both(&format!("{source}?channels=1")).unwrap();
    assert_eq!(train.channels(), 1);
}

#[test]
fn deep_and_transparent_pictures_become_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let deep = image::ImageBuffer::<Rgb<u16>, _>::from_pixel(3, 2, Rgb([0xff00, 0x8080, 0x0102]));
    write(dir.path().join("train/a/deep.png"), encoded(DynamicImage::from(deep), ImageFormat::Png));
    let clear = image::RgbaImage::from_pixel(3, 2, image::Rgba([9, 9, 9, 0]));
    write(dir.path().join("val/a/clear.webp"), encoded(clear, ImageFormat::WebP));
    let [train, test] = both(&text(dir.path())).unwrap();
    assert_eq!(pixels(&train)[0].1[..3], [0xfe, 0x80, 0x01]);
    assert_eq!(pixels(&test)[0].1[..3], [255; 3]);
}

#[test]
fn lists_name_pictures_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["pool"], 8);
    let list = |rows: &str| {
        write(dir.path().join("lists/list.csv"), rows);
        text(&dir.path().join("lists/list.csv"))
    };
    let source = list(
        "label,path,split\ncat,../pool/cat/0.png,train\ndog,../pool/dog/1.JPG,val\ncat,../pool/cat/2.webp,train\n\
         dog,../pool/dog/3.bmp,train\ncat,../gone.png,train\ncat,../pool/cat/0.png,train\n",
    );
    let [train, test] = both(&source).unwrap();
    assert_eq!((train.len(), test.len(), train.classes()), (3, 1, &["cat".to_string(), "dog".into()][..]));
    let out = left_out(&train);
    assert!(out.iter().any(|line| line.contains("gone.png: cannot read")), "{out:?}");
    assert!(out.iter().any(|line| line.contains("line 7 names it again, after line 2")), "{out:?}");
    let source =
        list("../pool/cat/0.png,7\n../pool/dog/1.JPG,0\n../pool/cat/2.webp,7\n../pool/dog/3.bmp,2\n");
    let [train, test] = both(&format!("{source}?val=0.5")).unwrap();
    assert_eq!((train.len() + test.len(), train.classes().len()), (4, 8));
    assert!(fails(&list("path,label\na.png\n")).contains("list.csv:2: no label"));
    assert!(fails(&list("")).contains("no pictures to use"));
    assert!(fails(&format!("list:{}", text(&dir.path().join("lists/lits.csv")))).contains("did you mean"));
}

#[test]
fn shards_hold_what_folders_hold() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("photos"), &["train", "val"], 20);
    let parts = both(&text(&dir.path().join("photos"))).unwrap();
    let target = format!("shards:{}", text(&dir.path().join("shards")));
    let conversion = Conversion { target: target.parse().unwrap(), short_side: None, shard_bytes: 8000 };
    let written = convert([&parts[0], &parts[1]], &conversion, &mut |_, _| {}).unwrap();
    assert_eq!(written.pictures, 40);
    let shards: Vec<_> = fs::read_dir(dir.path().join("shards")).unwrap().flatten().collect();
    assert!(shards.len() > 4, "several shards");
    let again = both(&text(&dir.path().join("shards"))).unwrap();
    for (part, again) in parts.iter().zip(&again) {
        assert_eq!((again.classes(), again.mean(), again.std()), (part.classes(), part.mean(), part.std()));
        let (before, after) = (pixels(part), pixels(again));
        assert!(
            before.iter().zip(&after).all(|(a, b)| (&a.1, a.2) == (&b.1, b.2)) && before.len() == after.len()
        );
    }
    // Of one shard alone, a part is held out by the names of its samples.
    let one = format!("shards:{}?val=0.3", text(&dir.path().join("shards/train-000000.tar")));
    let [train, test] = both(&one).unwrap();
    assert!(train.title(0).contains("train-000000.tar:0000"), "{}", train.title(0));
    let all = pixels(&parts[0]).len();
    assert!((2..all).contains(&(train.len() + test.len())));
    let pattern = format!("{}?test=val.tar", text(&dir.path().join("shards/train-{000000..000001}.tar")));
    assert!(fails(&pattern).contains("val.tar"));
    let pattern =
        format!("{}?test=test-000000.tar", text(&dir.path().join("shards/train-{000000..000001}.tar")));
    let [train, test] = both(&pattern).unwrap();
    assert!(
        train.title(train.len() - 1).contains("train-000001.tar")
            && test.title(0).contains("test-000000.tar")
    );
    // A damaged shard is named.
    let shard = dir.path().join("shards/train-000001.tar");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() / 3]).unwrap();
    assert!(fails(&text(&dir.path().join("shards"))).contains("train-000001.tar: "));
    let error = convert([&parts[0], &parts[1]], &conversion, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("exists and is not empty"), "{error}");
}

#[test]
fn conversion_makes_smaller_and_gives_names() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("photos"), &["train", "val"], 8);
    let parts = both(&text(&dir.path().join("photos"))).unwrap();
    let to = |target: String, short_side| {
        let conversion = Conversion { target: target.parse().unwrap(), short_side, shard_bytes: 1 << 20 };
        convert([&parts[0], &parts[1]], &conversion, &mut |_, _| {})
    };
    to(text(&dir.path().join("small")), Some(22)).unwrap();
    let [train, _] = both(&text(&dir.path().join("small"))).unwrap();
    assert_eq!(
        (train.len(), names(&train).contains("0.png"), names(&train).contains("3.png")),
        (8, true, true)
    );
    let survey = train.survey().unwrap();
    assert!(survey.seen.iter().all(|seen| seen.size[0].min(seen.size[1]) <= 22));
    assert!(survey.seen.iter().any(|seen| seen.format == "JPEG"));
    let error = to(format!("cifar10:{}", text(&dir.path().join("c"))), None).unwrap_err().to_string();
    assert!(
        error.contains("images of 3×32×32") && error.contains("pictures of any size of 2 classes"),
        "{error}"
    );
    let error = "shrads:x".parse::<striate_train::data::convert::Target>().unwrap_err();
    assert!(error.contains("did you mean shards?"), "{error}");
}

/// Every image that a loader hands out, as bits.
fn batches(data: &Arc<Dataset>, workers: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    let options = LoaderOptions {
        augment: "rrc=0.3,flip,jitter=0.3".parse::<Augment>().unwrap(),
        input: Some([16, 16]),
        scale: Scale::AtLeast(10),
        workers,
        ..LoaderOptions::training(5, 3, 3, data.mean(), data.std())
    };
    let mut loader = Loader::new(data.clone(), None, options).unwrap();
    let mut seen = Vec::new();
    while let Some(batch) = loader.next_batch().unwrap() {
        seen.push((batch.ids.clone(), batch.images.iter().map(|value| value.to_bits()).collect()));
    }
    seen
}

#[test]
fn workers_and_memory_leave_no_trace_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 24);
    let open = |cache| {
        let opening = &mut Opening { cache, ..Opening::default() };
        let [train, _] = data::open_both(&text(dir.path()), opening).unwrap();
        Arc::new(train)
    };
    let expected = batches(&open(0), 1);
    assert_eq!(expected.len(), 12);
    for (workers, cache) in [(2, 0), (3, 2000), (4, 1 << 30), (1, 1 << 30)] {
        let data = open(cache);
        assert!(batches(&data, workers) == expected, "{workers} workers, {cache} bytes");
        assert!(batches(&data, workers) == expected, "from memory: {workers} workers, {cache} bytes");
    }
}

#[test]
fn a_file_that_breaks_meanwhile_is_named() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 8);
    let [train, _] = both(&text(dir.path())).unwrap();
    let train = Arc::new(train);
    let error = || {
        let options = LoaderOptions {
            input: Some([16, 16]),
            ..LoaderOptions::evaluation(4, train.mean(), train.std())
        };
        let mut loader = Loader::new(train.clone(), None, options).unwrap();
        loop {
            match loader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => return error.to_string(),
            }
        }
    };
    let path = dir.path().join("train/cat/4.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, encoded(picture(5, 9, 9), ImageFormat::Png)).unwrap();
    assert!(error().contains("train/cat/4.png: its bytes are not those it had"), "{}", error());
    fs::remove_file(&path).unwrap();
    assert!(
        error().contains("train/cat/4.png: cannot read") && error().contains("it was a picture when"),
        "{}",
        error()
    );
    fs::write(&path, whole).unwrap();
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    assert!(error().contains("cannot read"));
}

#[test]
fn what_is_no_data_set_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = text(dir.path());
    write(dir.path().join("photos/1.png"), encoded(picture(1, 5, 5), ImageFormat::Png));
    assert!(
        fails(&format!("{source}/photos"))
            .contains("holds 1 pictures, but no folders: make one for each class")
    );
    assert!(fails(&format!("folder:{source}/potos")).contains(&format!("did you mean {source}/photos?")));
    assert!(fails(&format!("fodler:{source}")).contains("did you mean folder?"));
    assert!(fails(&format!("folder:{source}/photos?vla=1")).contains("does not know 'vla'"));
    assert!(fails(&format!("mnist:{source}?val=0.5")).contains("takes no options"));
    assert!(fails("shards:x-{0..}.tar").contains("names no shards: '' is no number"));
    assert!(data::open(&source, Split::Train).is_err());
}

#[test]
fn pictures_of_both_parts_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &["train", "val"], 4);
    fs::copy(dir.path().join("train/cat/0.png"), dir.path().join("val/cat/copy.png")).unwrap();
    let [train, test] = both(&text(dir.path())).unwrap();
    let info = Info::of([&train, &test]);
    assert_eq!(info.in_both.len(), 1);
    assert!(info.in_both[0].ends_with("val/cat/copy.png"));
    assert_eq!(info.test.formats["PNG"], 2);
}
