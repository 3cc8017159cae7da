"""Run an exported model on images: draw the boxes of a detector, print the classes of a classifier.

Needs onnxruntime, numpy and OpenCV alone, and no other file of this repository: the model says what
its pixels and classes are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import cv2
    import numpy as np
    import onnxruntime
except ImportError as error:
    sys.exit(f'error: {error}: run `pip install onnxruntime numpy opencv-python-headless`.')

# What is read of what export_onnx.py says of a model.
ABOUT = {'task', 'classes', 'input_size', 'resize', 'mean', 'std', 'channel_order', 'config'}
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp')


class DemoError(Exception):
    """A mistake of the user, in a sentence."""


def main() -> None:
    args = parse_args()
    try:
        run(args.model, args.images, args.out, args.score, args.threads)
    except (DemoError, OSError) as error:
        sys.exit(f'error: {error}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('model', help='.onnx file that export_onnx.py wrote')
    add('images', nargs='+', help='image files, or folders of images')
    add('--out', default='demo', metavar='FOLDER', help='for the drawn images (default: demo)')
    add('--score', type=float, default=0.3, help='least score of a drawn box (default: 0.3)')
    add('--threads', type=int, default=0, help='threads of ONNX Runtime (default: its own choice)')
    return parser.parse_args()


def run(model: str, paths: list[str], out: str, score: float, threads: int) -> None:
    if not 0 <= score <= 1:
        raise DemoError(f'--score {score} is not from 0 to 1, as scores are.')
    if threads < 0:
        raise DemoError(f'--threads {threads} must be 0 or more.')
    session, about = open_model(model, threads)
    files = find_images(paths)
    for file in files:  # All are looked at before anything is written; not all fit into memory.
        read_image(file)
    targets = find_targets(files, out) if about['task'] == 'detection' else files
    for file, target in zip(files, targets):
        image = read_image(file)
        outputs = session.run(None, {'images': pixels_of(image, about)})
        if about['task'] == 'classification':
            print(f'{file}: {best_classes(outputs[0][0], about["classes"])}')
            continue
        boxes, labels = place_boxes(outputs, image.shape, about['input_size'], score)
        draw(image, boxes, labels, about['classes'])
        target.parent.mkdir(parents=True, exist_ok=True)
        done, data = cv2.imencode(target.suffix, image)
        if not done:
            raise DemoError(f'{target} cannot be written as an image.')
        target.write_bytes(data.tobytes())
        print(f'{target}: {len(boxes)} boxes')


def open_model(model: str, threads: int) -> tuple[onnxruntime.InferenceSession, dict]:
    """The session, and what the model says of itself."""
    if not Path(model).is_file():
        raise DemoError(f'there is no model file {model!r}: check the path.')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # Its exceptions are classes of a private module.
        reason = ' '.join(str(error).split())[:200]
        raise DemoError(f'{model!r} is not a model that ONNX Runtime opens ({reason}).') from error
    try:
        about = json.loads(session.get_modelmeta().custom_metadata_map.get('dn_mmdet', ''))
    except ValueError:
        about = None
    if (
        not isinstance(about, dict)
        or ABOUT - about.keys()
        or about['task'] not in ('detection', 'classification')
    ):
        raise DemoError(
            f'{model!r} is not a detector or classifier that export_onnx.py wrote: '
            'export it again, as a whole.'
        )
    channels = session.get_inputs()[0].shape[1]
    if channels != 3:
        raise DemoError(f'{model!r} takes images of {channels} channels, and this demo reads 3.')
    if not about['resize']:
        raise DemoError(
            f'{model!r}: the test pipeline of {about["config"]} neither stretches images to the '
            'size of the input nor cuts it out of their middle, and this demo can do no more: set '
            'keep_ratio=False in its Resize, and export the model again.'
        )
    return session, about


def find_images(paths: list[str]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                raise DemoError(f'the folder {str(path)!r} holds no image ({", ".join(SUFFIXES)}).')
        found += files
    return list(dict.fromkeys(found))


def find_targets(files: list[Path], out: str) -> list[Path]:
    """Where the drawn image of each file goes."""
    folder, targets = Path(out), []
    if folder.exists() and not folder.is_dir():
        raise DemoError(f'--out {out!r} is not a folder: give another.')
    originals = {file.resolve() for file in files}
    for file in files:
        target = folder / file.name
        if not cv2.haveImageWriter(str(target)):  # Its name does not say how to write it.
            target = folder / f'{file.name}.png'
        while target in targets:  # Images of one name in two folders.
            target = target.with_name(f'_{target.name}')
        if target.resolve() in originals:
            raise DemoError(f'--out {out!r}: {target} is one of the images: give another folder.')
        targets.append(target)
    return targets


def read_image(file: Path) -> np.ndarray:
    """BGR, uint8, as cv2.imread has it."""
    if not file.is_file():
        raise DemoError(f'there is no image {str(file)!r}: check the path.')
    data = np.fromfile(file, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise DemoError(f'{str(file)!r} is not an image that OpenCV reads, or is truncated.')
    return image


def pixels_of(image: np.ndarray, about: dict) -> np.ndarray:
    """What the model takes, (1, 3, H, W)."""
    height, width = about['input_size']
    short_edge = about['resize']['short_edge']
    if short_edge is None:
        pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        factor = short_edge / min(image.shape[:2])
        scaled = tuple(int(side * factor + 0.5) for side in image.shape[1::-1])
        pixels = cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR)
        top, left = (round((a - b) / 2) for a, b in zip(pixels.shape, (height, width)))
        pixels = pixels[top : top + height, left : left + width]
    if about['channel_order'] == 'RGB':
        pixels = pixels[..., ::-1]
    pixels = (pixels.astype(np.float32) - np.float32(about['mean'])) / np.float32(about['std'])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def place_boxes(
    outputs: list[np.ndarray], shape: tuple[int, ...], size: list[int], score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with a score in pixels of the image, (K, 5), and their labels."""
    dets, labels = outputs[0][0], outputs[1][0]
    kept = (labels >= 0) & (dets[:, 4] >= score)
    scale = np.float32([shape[1] / size[1], shape[0] / size[0]] * 2 + [1])
    return dets[kept] * scale, labels[kept]


def draw(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Boxes with class and score, into the image."""
    thick = max(1, round(min(image.shape[:2]) / 300))
    for (*corners, score), label in zip(boxes[::-1], labels[::-1]):
        left, top, right, bottom = (int(round(value)) for value in corners)
        hue = np.uint8([[[int(label) * 67 % 180, 200, 230]]])
        color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        cv2.rectangle(image, (left, top), (right, bottom), color, thick)
        name = classes[label] if label < len(classes) else str(label)
        text, scale = f'{name} {score:.2f}', 0.4 * thick
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        base = max(top, height + 4)
        cv2.rectangle(image, (left, base - height - 4), (left + width, base), color, -1)
        cv2.putText(
            image, text, (left, base - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick
        )


def best_classes(scores: np.ndarray, classes: list[str], count: int = 3) -> str:
    best = scores.argsort()[::-1][:count]
    return ', '.join(
        f'{classes[i] if i < len(classes) else i} {scores[i]:.3f}' for i in best.tolist()
    )


if __name__ == '__main__':
    main()
