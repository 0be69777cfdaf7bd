// An answer as nodes: paragraphs, lists, code and evidence markers. Nothing is read as HTML.

const INLINE = /(`[^`]+`|\[\d+\])/;

export function render(text, onMarker) {
  const nodes = [];
  let list = null;
  for (const line of text.split("\n")) {
    const item = /^\s*(?:[-*]|\d+[.)])\s+(.*)$/.exec(line);
    if (item) {
      if (!list) {
        list = document.createElement("ul");
        nodes.push(list);
      }
      list.append(filled("li", item[1], onMarker));
      continue;
    }
    list = null;
    if (line.trim()) nodes.push(filled("p", line, onMarker));
  }
  return nodes;
}

function filled(tag, text, onMarker) {
  const element = document.createElement(tag);
  for (const piece of text.split(INLINE)) {
    if (/^`[^`]+`$/.test(piece)) {
      const code = document.createElement("code");
      code.textContent = piece.slice(1, -1);
      element.append(code);
    } else if (/^\[\d+\]$/.test(piece)) {
      const marker = document.createElement("button");
      marker.type = "button";
      marker.className = "marker";
      marker.textContent = piece;
      marker.onclick = () => onMarker(Number(piece.slice(1, -1)));
      element.append(marker);
    } else if (piece) {
      element.append(piece);
    }
  }
  return element;
}
