// What is wrong with a page as it is shown, as sentences. Runs in the page.
() => {
  const wrong = [];
  const about = (node) => `<${node.tagName.toLowerCase()}> ${node.textContent.trim().slice(0, 40)}`;
  const all = (selector) => [...document.querySelectorAll(selector)];

  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) wrong.push('the page scrolls sideways');
  for (const node of all('body *')) {
    const box = node.getBoundingClientRect();
    if (box.right > width + 1 && !node.closest('.scroll, pre')) {
      wrong.push(`past the right edge: ${about(node)}`);
    }
  }

  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const luminance = ({rgb}) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.a > 0) return color;
    }
    return {rgb: [255, 255, 255]};
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility()) continue;
    count += 1;
    const style = getComputedStyle(node);
    if (parseFloat(style.fontSize) < 11) wrong.push(`${style.fontSize}: ${about(node)}`);
    const [light, dark] = [luminance(parse(style.color)), luminance(ground(node))]
      .sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(1)}: ${about(node)}`);
  }
  if (count < 50) wrong.push(`only ${count} texts are shown`);

  for (const image of all('img')) {
    const box = image.getBoundingClientRect();
    if (!image.naturalWidth) wrong.push(`no picture: ${image.alt}`);
    if (box.width > width || box.width > image.naturalWidth) wrong.push(`stretched: ${image.alt}`);
    if (Math.abs(box.width / box.height - image.naturalWidth / image.naturalHeight) > 0.02) {
      wrong.push(`distorted: ${image.alt}`);
    }
    if (image.alt.length < 10) wrong.push(`an image without an alternative text: ${image.alt}`);
  }

  let level = 0;
  for (const heading of all('h1, h2, h3, h4, h5, h6')) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1 || (own === 1 && level)) wrong.push(`out of order: ${about(heading)}`);
    level = own;
  }
  for (const link of all('a')) {
    const target = link.hash && document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) wrong.push(`leads nowhere: ${link.href}`);
  }
  const ids = all('[id]').map((node) => node.id);
  if (new Set(ids).size < ids.length) wrong.push(`two of one id: ${ids}`);
  if (document.documentElement.lang !== 'en' || document.title.length < 10) wrong.push('no name');
  if (!document.querySelector('meta[name=viewport]')) wrong.push('no viewport');

  for (const table of all('table')) {
    const frame = table.parentElement;
    if (frame.tabIndex !== 0) wrong.push('a table that no key scrolls');
    const first = table.rows[table.rows.length - 1].cells[0];
    const before = first.getBoundingClientRect().left;
    frame.scrollLeft = 1000;
    if (Math.abs(first.getBoundingClientRect().left - before) > 1) {
      wrong.push(`the names of rows are scrolled away: ${about(first)}`);
    }
    if (frame.clientWidth - first.getBoundingClientRect().width < frame.clientWidth / 3) {
      wrong.push(`the names of rows leave no room: ${about(first)}`);
    }
    frame.scrollLeft = 0;
  }
  return wrong;
}
