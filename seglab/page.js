// What the page does in the browser besides Gradio: language, names for screen readers, painting of the true mask.
// No event of Gradio runs a script, so that the page needs no 'unsafe-eval'. TEXTS: by language, then by key.

const path = location.pathname;
const language = (path.match(/\/(de|zh)\/?$/) || [])[1] || 'en';
const query = new URLSearchParams(location.search);
const asked = query.get('lang');
const spoken = (navigator.languages || []).map((one) => one.slice(0, 2)).find((one) => one in TEXTS);
const wanted = asked in TEXTS ? asked : language === 'en' && spoken ? spoken : language;
if (wanted !== language) {
  if (wanted !== 'en') query.delete('lang');
  const base = path.replace(/\/(de|zh)?\/?$/, '/');
  location.replace(`${base}${wanted === 'en' ? '' : wanted}${query.size ? `?${query}` : ''}`);
}
// Gradio's own few words follow the browser's language; on a page in a language they shall follow the page.
Object.defineProperty(navigator, 'language', {get: () => (language === 'zh' ? 'zh-CN' : language)});
const say = (key, values = {}) => TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// The mask is painted on a see-through canvas over the picture, and handed to the upload field like any other file.
const paintTool = (place) => {
  const add = (tag, parent, values = {}) => parent.appendChild(Object.assign(document.createElement(tag), values));
  const tool = add('div', place, {className: 'paint-tool'});
  add('p', tool, {textContent: say('help')});
  const row = add('div', tool, {className: 'paint-row'});
  const button = (words, parent = row) => add('button', parent, {type: 'button', textContent: words});
  const brush = button(say('brush')), eraser = button(say('eraser')), clear = button(say('clear'));
  const label = add('label', row, {textContent: say('size')});
  const width = add('input', label, {type: 'range', min: 1, max: 20, value: 5});
  const board = add('div', tool, {className: 'paint-board'});
  const picture = add('img', board, {alt: ''});
  const canvas = add('canvas', board, {tabIndex: 0});
  canvas.setAttribute('role', 'application');
  canvas.setAttribute('aria-label', say('canvas'));
  const ring = add('div', board, {className: 'paint-ring'});
  const use = button(say('use'), tool);
  const said = add('p', tool, {className: 'paint-said'});
  said.setAttribute('role', 'status');
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  let at = {x: 0, y: 0}, isDown = false, isErasing = false, pointer = null;

  const speak = (key, values) => { said.textContent = key ? say(key, values) : ''; };
  const choose = (erasing) => {
    isErasing = erasing;
    brush.setAttribute('aria-pressed', !erasing);
    eraser.setAttribute('aria-pressed', erasing);
  };
  const span = () => Math.max(canvas.width, canvas.height) * width.value / 100;
  const showRing = () => {
    const scale = canvas.clientWidth / canvas.width, side = span() * scale;
    Object.assign(ring.style, {left: `${at.x * scale - side / 2}px`, top: `${at.y * scale - side / 2}px`,
      width: `${side}px`, height: `${side}px`});
  };
  const move = (x, y, draws) => {
    const to = {x: Math.min(Math.max(x, 0), canvas.width), y: Math.min(Math.max(y, 0), canvas.height)};
    if (draws) {
      pen.globalCompositeOperation = isErasing ? 'destination-out' : 'source-over';
      pen.strokeStyle = '#FF8000';
      pen.lineCap = 'round';
      pen.lineWidth = span();
      pen.beginPath();
      pen.moveTo(at.x, at.y);
      pen.lineTo(to.x, to.y);
      pen.stroke();
    }
    at = to;
    showRing();
  };
  const painted = () => {  // the painting as black and white, and how many of its pixels are white
    const image = pen.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < image.data.length; i += 4) {
      const isObject = image.data[i + 3] > 127;
      count += isObject;
      image.data.fill(isObject ? 255 : 0, i, i + 3);
      image.data[i + 3] = 255;
    }
    return {image, count};
  };
  const report = () => {
    const {count} = painted();
    speak(count ? 'painted' : '', {percent: (100 * count / canvas.width / canvas.height).toFixed(1)});
  };
  const reset = () => {
    const scale = Math.min(1, 1024 / Math.max(picture.naturalWidth, picture.naturalHeight));
    canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
    isDown = false;
    move(canvas.width / 2, canvas.height / 2, false);
    speak('');
  };
  const place_of = (event) => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  canvas.addEventListener('pointerdown', (event) => {
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    move(...place_of(event), false);
    move(at.x, at.y, true);
  });
  canvas.addEventListener('pointermove', (event) => move(...place_of(event), event.pointerId === pointer));
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { pointer = null; report(); });
  canvas.addEventListener('keydown', (event) => {
    const step = Math.max(canvas.width, canvas.height) * (event.shiftKey ? 0.005 : 0.02);
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (way) move(at.x + way[0] * step, at.y + way[1] * step, isDown);
    else if (event.key === ' ') {
      isDown = !isDown;
      if (isDown) move(at.x, at.y, true);
      report();
    } else return;
    event.preventDefault();
  });
  canvas.addEventListener('blur', () => { isDown = false; });
  width.addEventListener('input', showRing);
  brush.addEventListener('click', () => choose(false));
  eraser.addEventListener('click', () => choose(true));
  clear.addEventListener('click', () => { pen.clearRect(0, 0, canvas.width, canvas.height); report(); });
  picture.addEventListener('load', reset);
  choose(false);

  const hand_over = async (blob) => {
    if (!blob) return speak('failed');
    const field = () => document.querySelector('#truth input[type=file]');
    const full = document.querySelector('#truth button[aria-label="Clear"], #truth .file-preview button');
    if (!field() && full) full.click();
    for (let wait = 0; !field() && wait < 50; wait += 1) await new Promise((go) => setTimeout(go, 40));
    const files = new DataTransfer();
    files.items.add(new File([blob], 'painted_mask.png', {type: 'image/png'}));
    field().files = files.files;
    field().dispatchEvent(new Event('change', {bubbles: true}));
  };
  use.addEventListener('click', () => {
    if (!picture.src) return speak('none');
    const {image, count} = painted();
    if (!count) return speak('unpainted');
    const small = new OffscreenCanvas(canvas.width, canvas.height);
    small.getContext('2d').putImageData(image, 0, 0);
    const whole = Object.assign(document.createElement('canvas'),
      {width: picture.naturalWidth, height: picture.naturalHeight});
    const page = whole.getContext('2d');
    page.imageSmoothingEnabled = false;
    page.drawImage(small, 0, 0, whole.width, whole.height);
    whole.toBlob(hand_over, 'image/png');
  });
  return (source) => {  // called whenever the page has changed
    board.hidden = !source;
    if (source && picture.getAttribute('src') !== source) picture.src = source;
    if (!source) picture.removeAttribute('src');
  };
};

const start = () => {
  document.documentElement.lang = language === 'zh' ? 'zh-Hans' : language;
  // The status line is spoken once per change through an element of our own: Gradio's holds a running clock while a
  // model works. Upload buttons all carry the same name, so they are renamed; a wide table can be scrolled by keys.
  const live = Object.assign(document.createElement('div'), {id: 'spoken'});
  live.setAttribute('role', 'status');
  document.body.append(live);
  const tools = new WeakMap(), heard = {};
  const tidy = () => {
    if (document.title !== say('title')) document.title = say('title');
    for (const id of ['live', 'train-live']) {
      const line = document.querySelector(`#${id} .prose`);
      const text = line ? line.textContent.trim() : '';
      if (!text || heard[id] === text) continue;
      heard[id] = text;
      live.textContent = text;
    }
    for (const link of document.querySelectorAll('#languages a[target]')) {  // Gradio opens links in a new window
      link.removeAttribute('target');
      link.lang = (link.getAttribute('href').match(/(de|zh)$/) || ['en'])[0];
    }
    for (const id of ['picture', 'truth', 'files', 'zip']) {
      const button = document.querySelector(`#${id} button[aria-dropeffect]`);
      const label = button && `${say(id)}: ${button.innerText.replace(/\s+/g, ' ').trim()}`;
      if (button && button.getAttribute('aria-label') !== label) button.setAttribute('aria-label', label);
    }
    for (const id of ['numbers', 'points', 'everyone', 'series', 'evidence']) {
      const table = document.querySelector(`#${id}`);
      if (!table || table.hasAttribute('tabindex') === Boolean(table.querySelector('table'))) continue;
      if (table.hasAttribute('tabindex')) {  // emptied again: nothing to stop at
        for (const name of ['tabindex', 'role', 'aria-label']) table.removeAttribute(name);
        continue;
      }
      table.tabIndex = 0;
      table.setAttribute('role', 'region');
      table.setAttribute('aria-label', say(id));
    }
    document.querySelectorAll('#slide img:not([data-named])').forEach((image, number) => {
      image.dataset.named = 1;
      image.alt = say(number ? 'right' : 'left');
    });
    const place = document.querySelector('#paint');
    if (!place) return;
    if (!tools.has(place)) tools.set(place, paintTool(place));
    const picture = document.querySelector('#picture img');
    tools.get(place)(picture ? picture.getAttribute('src') : null);
  };
  new MutationObserver(tidy).observe(document.body, {childList: true, subtree: true, characterData: true,
    attributes: true, attributeFilter: ['src']});
  tidy();
};
document.readyState === 'loading' ? addEventListener('DOMContentLoaded', start) : start();
