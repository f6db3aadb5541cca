// Contrast (WCAG 2) of every text that is seen, against the least favourable ground behind it: [[ratio, what], ...]
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const stripes = (node) => getComputedStyle(node).backgroundImage.match(/rgb\([^)]*\)|color\([^)]*\)/g) ?? [];
  const grounds = (node) => {
    for (let each = node; each; each = each.parentElement) {
      if (stripes(each).length) return stripes(each).map(rgba);
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return [colour];
    }
    return [[255, 255, 255, 255]];
  };
  const hasWords = (node) => [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim()) || (typeof node.value === "string" && node.value && node.type !== "range");
  const said = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && hasWords(node));
  return said.map((node) => {
    const words = light(rgba(getComputedStyle(node).color));
    const ratios = grounds(node).map(light).map((ground) =>
      (Math.max(words, ground) + 0.05) / (Math.min(words, ground) + 0.05));
    return [Math.min(...ratios), `${node.tagName} ${node.className} ${(node.textContent || node.value).slice(0, 30)}`];
  });
}
