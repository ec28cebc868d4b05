// Elements, made without any HTML in strings: text stays text.

export const byId = (id) => document.getElementById(id);

/**
 * Makes an element.
 *
 * @param {string} tag
 * @param {Object} attributes - true stands for an attribute without a value, false for none.
 * @param {...(Node|string)} children
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
